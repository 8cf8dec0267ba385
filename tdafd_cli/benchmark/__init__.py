"""Methods side by side: their costs, their scores, and the tables and page that show them."""
