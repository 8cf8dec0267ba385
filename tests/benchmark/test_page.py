from tdafd_cli.benchmark.comparison import Row
from tdafd_cli.benchmark.page import to_html
from tdafd_cli.benchmark.results import Failure, Results

HOSTILE = """</script><img src="x" onerror='alert(1)'>"""
MADE = {"started": "today", "gpu": None, "cpu": HOSTILE, "versions": {"tdafd": HOSTILE}}


def test_no_text_of_a_result_becomes_markup():
    results = Results(
        MADE,
        scale=2,
        data=[{"name": HOSTILE, "sha256": HOSTILE}] * 2,
        methods=[{"name": HOSTILE, "kind": "network", "sha256": HOSTILE}],
        rows=[Row(HOSTILE, HOSTILE, HOSTILE, 30, 0.9, 30, 0.9, 1.0, 1)],
        failures=[Failure(HOSTILE, HOSTILE)],
    )
    page = to_html(results, ())
    assert page.startswith("<!doctype html>")
    assert page.count("</script>") == 2
    assert "<img src=" not in page
