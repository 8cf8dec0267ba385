"""Methods side by side: their costs, their scores, and the tables and page that show them.

Used elsewhere: `run.run_benchmark` takes `run.BenchmarkSettings` and gives `results.Results`;
`tables.result_tables` and `outputs.write_outputs` show them.
"""
