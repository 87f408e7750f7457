"""Start files of clusters, with stand-ins for what starts processes there; and what JAX detects.

A stand-in runs what it is given as the real one would: twice, by a shell, with its variables. The
commands end in a Python that only writes down its arguments, which our flags then parse.
"""

import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from gptjax.interrupted import Interrupted
from tests.support.binaries import called

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "docs" / "clusters"
GIVEN = [
    "--experiment=gpt2_small",
    "--workdir=/shared/my runs/small",
    "--config.data.corpus=jsonl:/shared/*.jsonl.zst#text",
    "--config.model.attention=dense,banded(window=256)",
    "--config.parallelism.strategy=mesh",
]
STAND_IN = """\
#!{python} -IS
import json, os, signal, subprocess, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]

ended = []

def run(command, **variables):
    ended.append(subprocess.run(command, env=os.environ | variables).returncode)

def option(flag):
    return next(x.partition("=")[2] for x in arguments if x.startswith(flag + "="))

if name == "python":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with open(os.environ["STARTED"], "a") as file:
        print(json.dumps([os.getcwd(), dict(os.environ), arguments]), file=file)
    while "STAY" in os.environ:
        signal.pause()
    sys.exit(int(os.environ.get("STATUS", 0)))
elif name == "srun":
    while arguments[0].startswith("--"):
        assert "=" in arguments.pop(0)
    for i in "01":
        run(arguments, SLURM_PROCID=i)
elif name == "mpirun":
    assert arguments[:2] == ["--host", "host0:1,host1:1"]
    for i in "01":
        variables = dict.fromkeys(("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"), i)
        run(arguments[2:], OMPI_COMM_WORLD_SIZE="2", **variables)
elif name == "ssh":
    assert arguments[0] == "-n" and len(arguments) == 3
    run(["bash", "-c", arguments[2]], SSH_HOST=arguments[1])
elif name == "gcloud":
    assert arguments[:5] == ["compute", "tpus", "tpu-vm", "ssh", "my-pod"]
    assert (option("--worker"), option("--zone")) == ("all", "a-zone")
    for _ in range(2):
        run(["bash", "-c", option("--command")])
elif name == "xpk":
    assert arguments[:2] == ["workload", "create"] and option("--workload") == "small"
    for _ in range(2):
        run(["bash", "-c", option("--command")])
sys.exit(max(ended))
"""
VARIABLES = {
    "slurm.sbatch": {},
    "open_mpi.sh": {"HOSTS": "host0:1,host1:1"},
    "gpu_hosts.sh": {"HOSTS": "host0 host1"},
    "tpu_pod.sh": {"TPU": "my-pod", "ZONE": "a-zone", "REPOSITORY": "my gptjax"},
    "xpk.sh": {"CLUSTER": "c", "PROJECT": "p", "ZONE": "z", "IMAGE": "i", "NAME": "small"}
    | {"TPU_TYPE": "v5litepod-16"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the stand-ins."""
    folder = tmp_path_factory.mktemp("stand ins")
    for name in ("python", "srun", "mpirun", "ssh", "gcloud", "xpk"):
        (folder / name).write_text(STAND_IN.format(python=sys.executable))
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def started(folder):
    """By start file, what each Python was started with: folder, variables, arguments."""
    home = folder / "home"
    (home / "my gptjax").mkdir(parents=True)
    commands = {name: ["bash", FILES / name, *GIVEN] for name in VARIABLES}
    made = {}
    for name, command in commands.items():
        made[name] = _started(folder, home, command, VARIABLES[name])
    pods = list(yaml.safe_load_all((FILES / "gke_gpus.yaml").read_text()))[1]["spec"]
    (container,) = pods["template"]["spec"]["containers"]
    assert pods["completions"] == pods["parallelism"] == 2
    made["gke_gpus.yaml"] = [
        line
        for i in "01"
        for line in _started(folder, home, container["command"], {"JOB_COMPLETION_INDEX": i})
    ]
    return made


def _environment(folder, written):
    return os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHON": f"{folder}/python",
        "STARTED": str(written),
        "TMPDIR": str(folder),
    }


def _started(folder, home, command, variables, status=0):
    written = folder / "started"
    written.unlink(missing_ok=True)
    environment = _environment(folder, written) | variables | {"STATUS": str(status)}
    assert subprocess.run(command, cwd=home, env=environment, check=False).returncode == status
    return [json.loads(line) for line in written.read_text().splitlines()]


def _flags(arguments, *names):
    found = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments[2:])
    return [found.get(name) for name in names]


@pytest.mark.parametrize("name", [*VARIABLES, "gke_gpus.yaml"])
def test_each_start_file_starts_every_process_with_its_number(started, name):
    arguments = [line[2] for line in started[name]]
    assert [line[:2] for line in arguments] == [["-m", "experiments.train"]] * 2
    if name != "gke_gpus.yaml":
        assert all(set(GIVEN) < set(line) for line in arguments)
    said = [_flags(line, "coordinator", "num_processes", "process_id") for line in arguments]
    addresses = {
        "gpu_hosts.sh": "host0:8476",
        "open_mpi.sh": "host0:8476",
        "gke_gpus.yaml": "gptjax-0.gptjax:8476",
    }
    if name in addresses:
        assert sorted(said) == [[addresses[name], "2", i] for i in "01"]
    else:
        assert said == [["detect", None, None]] * 2


@pytest.mark.parametrize("name", VARIABLES)
def test_another_binary_is_started_and_its_status_is_passed_on(folder, started, name):
    del started  # it makes the folders
    command, variables = ["bash", FILES / name, *GIVEN], VARIABLES[name] | {"BINARY": "verify"}
    lines = [line[2] for line in _started(folder, folder / "home", command, variables, status=143)]
    assert [line[:2] for line in lines] == [["-m", "experiments.verify"]] * 2
    assert all(set(GIVEN) < set(line) for line in lines)


def test_processes_are_where_their_start_file_says(started):
    by_host = {
        line[1]["SSH_HOST"]: _flags(line[2], "process_id") for line in started["gpu_hosts.sh"]
    }
    assert by_host == {"host0": ["0"], "host1": ["1"]}
    assert {Path(line[0]).name for line in started["gpu_hosts.sh"]} == {"home"}
    assert {Path(line[0]).name for line in started["tpu_pod.sh"]} == {"my gptjax"}
    devices = [line[1]["JAX_LOCAL_DEVICE_IDS"] for line in started["open_mpi.sh"]]
    assert devices == ["0", "1"]


def test_what_interrupts_the_start_file_of_gpu_hosts_asks_the_first_to_leave(folder):
    written = folder / "stays"
    os.mkfifo(written)
    variables = {"HOSTS": "host0", "STAY": "1"}
    script = subprocess.Popen(
        ["bash", FILES / "gpu_hosts.sh", *GIVEN], env=_environment(folder, written) | variables
    )
    assert written.read_text()  # which waits for the process to have started
    script.terminate()
    assert script.wait() == 143


def test_a_pod_that_saved_and_left_is_started_again_and_counts_no_failure():
    job = list(yaml.safe_load_all((FILES / "gke_gpus.yaml").read_text()))[1]["spec"]
    rules = job["podFailurePolicy"]["rules"]
    left = {"operator": "In", "values": [Interrupted("SIGTERM").exit_code]}
    assert {"action": "Ignore", "onExitCodes": left} in rules
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # which the policy asks for


def parsed():
    """Parses what `experiments.train` parses, and starts nothing."""
    for module in ("training", "command_line"):
        importlib.import_module(f"experiments.flags.{module}")
    sys.modules["experiments.flags.command_line"].run(lambda argv: None, with_experiment=True)


def test_our_flags_parse_what_they_start_and_not_what_is_misspelt(started):
    lines = {name: line[2][2:] for name, made in started.items() for line in made}
    for arguments in lines.values():
        done = called(parsed, *arguments)
        assert (done.code, done.errors) == (0, ""), arguments
    misspelt = called(parsed, *lines["slurm.sbatch"], "--cordinator=detect")
    assert "did you mean --coordinator?" in misspelt.refusal


def test_a_variable_that_is_missing_is_named():
    for name, variables in VARIABLES.items():
        for variable in variables.keys() - {"REPOSITORY"}:
            rest = {key: value for key, value in variables.items() if key != variable}
            environment = {"PATH": os.environ["PATH"], **rest}
            done = subprocess.run(
                ["bash", FILES / name], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode != 0 and f"{variable}:" in done.stderr, (name, variable)


def test_the_guide_names_every_start_file_and_every_one_is_there():
    guide = (ROOT / "docs" / "clusters.md").read_text()
    named = set(re.findall(r"`(?:docs/)?clusters/([\w.]+)`", guide))
    assert named == {file.name for file in FILES.iterdir()}
    assert named == {*VARIABLES, "gke_gpus.yaml", "Dockerfile"}


def test_what_the_image_is_made_of_is_there():
    lines = (FILES / "Dockerfile").read_text().splitlines()
    copied = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY")]
    assert all((ROOT / name).exists() for names in copied for name in names)
    extras = (ROOT / "pyproject.toml").read_text()
    assert "\ncuda = [" in extras and "\ntpu = [" in extras


DETECT = textwrap.dedent(
    """
    import json, sys
    import jax
    from absl import flags
    from experiments.flags.processes import connect
    from gptjax.config import ParallelismConfig
    from gptjax.training.processes import check_alike

    flags.FLAGS(["pretrain", "--coordinator=detect"])
    connect(lambda: ParallelismConfig(strategy="mesh"))
    seen = [jax.process_index(), jax.process_count(), jax.device_count()]
    check_alike({"devices": seen[2]})
    print(json.dumps(seen), file=sys.stderr)
    """
)
CLUSTERS = {
    "slurm": lambda i: {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost,node[2-3]",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": i,
        "SLURM_LOCALID": i,
    },
    "open_mpi_4": lambda i: {
        "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1,10.96.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": i,
        "OMPI_COMM_WORLD_LOCAL_RANK": i,
    },
    "gke_tpu": lambda i: {
        "JAX_FORCE_TPU_INIT": "1",  # as if there were TPUs
        "TPU_WORKER_HOSTNAMES": "localhost,localhost",
        "TPU_WORKER_ID": i,
        "MEGASCALE_COORDINATOR_ADDRESS": "localhost",
        "MEGASCALE_NUM_SLICES": "1",
        "MEGASCALE_SLICE_ID": "0",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_processes_find_each_other_by_the_variables_of_a_cluster(cluster):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DETECT],
            cwd=ROOT,
            env=os.environ
            | {"JAX_NUM_CPU_DEVICES": "2", "JAX_COORDINATOR_PORT": port}
            | CLUSTERS[cluster](i),
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in "01"
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    seen = [json.loads(error.splitlines()[-1]) for error in errors]
    assert seen == [[0, 2, 4], [1, 2, 4]]
