# One job a notebook. Inputs: the notebook and exactly the files of lib, papers and benchmarks that it imports, directly or not.
# They are `ancient`: `digest` (the content hash, with the notebook's part of the paper's YAML) says whether they changed, a
# date or a comment does not.
# Run through `make run` (or `python -m lib.workflow run --help`); a cluster profile is in profiles/.
import shlex
import sys

from lib.workflow import jobs
from lib.workflow.execute import _die_with_the_run

_die_with_the_run()
JOBS = jobs.read_plan(config)
PYTHON = shlex.quote(sys.executable).replace("{", "{{").replace("}", "}}")  # the checkout may lie in "my {own} project"


rule all:
    default_target: True
    input: [job["output"] for job in JOBS]


for job in JOBS:

    rule:
        name: job["name"]
        input: [ancient(path) for path in job["inputs"]]
        output: job["output"]
        params: digest=job["digest"], target=job["notebook"], profile=job["profile"]
        threads: 1
        priority: job["priority"]
        resources: gpu=job["gpus"]
        shell: f"{PYTHON} -m lib.workflow execute {{params.target:q}} --profile {{params.profile:q}} 2>&1"
