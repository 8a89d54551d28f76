"""Every notebook of every paper at the profile smoke, through the strict runner; artefacts are shared, outputs go away.

What the papers read from outside is fetched first, where it is not here; after that no kernel may open a socket.
"""

import json

import pytest
from offline import offline
from warm_kernels import warm_kernels

from lib.workflow import experiments, inputs, jobs, notebooks, papers, paths
from lib.workflow.execute import ExecutionError, execute


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    inputs.bring(inputs.look([slug for slug in papers.slugs() if experiments.has(slug)], "smoke"), tell=lambda _: None)
    with offline(folder / "asked") as asked, warm_kernels():
        yield folder
    assert not (told := asked()), f"a notebook went for the network: {told}"


@pytest.mark.notebooks
@pytest.mark.parametrize("job", jobs.every("smoke"), ids=lambda job: job.label)
def test_a_notebook_runs_at_smoke(job, runs, monkeypatch):
    for name, folder in {"REPRISE_RUNS": runs, "REPRISE_OUT": runs, "REPRISE_CACHE": paths.CACHE}.items():
        monkeypatch.setenv(name, str(folder))
    try:
        copy = execute(job.notebook, profile="smoke", output=runs / "smoke" / job.slug / f"{job.exhibit}.ipynb")
    except (ExecutionError, ValueError) as error:
        if "SourceUnavailable" in str(error):
            pytest.skip(str(error))  # released files that are neither here nor reachable
        pytest.fail(str(error), pytrace=False)
    for number, cell in enumerate(notebooks.code_cells(notebooks.read(copy)), start=1):
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"{job.label}, code cell {number} prints on stderr: {output.text}"
    result = runs / "papers" / job.slug / "results" / f"{job.exhibit}.smoke.json"
    if job.minutes is not None:  # a paper's notebook: it ends with run.save()
        content = json.loads(result.read_text())
        assert content["profile"] == "smoke" and content["claims"] == {}, f"{job.label} gives verdicts at smoke"
