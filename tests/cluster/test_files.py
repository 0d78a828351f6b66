"""docker-compose.yml, the manifests of deploy/ and `make secrets`, without starting anything."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

import hpo

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KUBERAY = [part for part in yaml.safe_load_all((ROOT / "deploy" / "kuberay.yaml").read_text(encoding="utf-8")) if part]
DRIVERS = {"ray-head", "hpo"}


def make_secrets(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy" / "make_secrets.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


# docker-compose.yml --------------------------------------------------------------------------------------------------


def test_the_compose_file_is_one_by_the_specification(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, str(ROOT / "docker-compose.yml")], check=True)
    (tmp_path / "wrong.yml").write_text("services: {a: {image: x, restarts: always}}")
    assert subprocess.run([*command, str(tmp_path / "wrong.yml")], capture_output=True, check=False).returncode == 1


def test_only_what_a_person_needs_is_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"mlflow", "ray-head"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_no_service_can_use_up_memory_or_processes() -> None:
    assert all("mem_limit" in service and "pids_limit" in service for service in SERVICES.values())


def test_images_can_be_built_on_a_base_that_is_named_by_its_digest() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    stages = [line.split() for line in lines if line.startswith("FROM")]
    assert {words[1] for words in stages} - {words[3] for words in stages} == {"${BASE}"}
    default = lines[lines.index(next(line for line in lines if line.startswith("ARG")))].removeprefix("ARG BASE=")
    builds = {json.dumps(s["build"]["args"]) for s in SERVICES.values()}
    assert builds == {json.dumps({"BASE": f"${{HPO_BASE_IMAGE:-{default}}}"})}


def test_the_hashes_are_of_the_pinned_versions() -> None:
    """`python3 deploy/lock.py` writes them again."""
    pinned = dict(line.lower().replace("_", "-").split("==") for line in (ROOT / "constraints.txt").read_text().split())
    (file,) = (ROOT / "deploy" / "hashes").glob("*.txt")
    found = re.findall(r"^(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}$", file.read_text(), re.MULTILINE)
    assert len(found) == len(file.read_text().splitlines())
    assert {name: pinned[name] for name, _ in found} == dict(found)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {re.split(r"[<>=\[]", word)[0] for word in [*needed, "setuptools"]} <= {name for name, _ in found}


def test_nothing_that_builds_hpo_itself_is_fetched_without_its_hash() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    builds = [line for line in re.split(r"\n|&&|;", text) if re.search(r"pip (wheel|install).*\s'?\.(\[|\s|$)", line)]
    assert len(builds) == 2
    assert all("--no-build-isolation" in line for line in builds)


def test_workers_and_database_share_no_network_and_neither_leads_out() -> None:
    assert SERVICES["ray-worker"]["networks"] == ["compute"]
    assert SERVICES["postgres"]["networks"] == ["data"]
    assert COMPOSE["networks"]["compute"] == COMPOSE["networks"]["data"] == {"internal": True}


def test_credentials_of_ledger_and_tracking_go_to_drivers_and_servers_alone() -> None:
    knows = {
        name: {
            key for key in service.get("environment", {}) if re.fullmatch(r"HPO_(LEDGER|MLFLOW)_.*|HPO_STORAGE", key)
        }
        for name, service in SERVICES.items()
    }
    assert {name for name, keys in knows.items() if keys} == DRIVERS | {"postgres", "mlflow"}
    assert all(
        value.endswith(":?run make secrets}")
        for service in SERVICES.values()
        for value in map(str, service.get("environment", {}).values())
        if value.startswith("${")
    )


def test_no_service_starts_before_the_env_file_was_looked_at() -> None:
    def before(name: str) -> set[str]:
        waits = set(SERVICES[name].get("depends_on", {}))
        return waits.union(*map(before, waits)) if waits else set()

    assert {name for name in SERVICES if "preflight" not in before(name)} == {"preflight"}
    conditions = {
        (other, how["condition"])
        for service in SERVICES.values()
        for other, how in service.get("depends_on", {}).items()
    }
    assert {condition for other, condition in conditions if other == "preflight"} == {"service_completed_successfully"}
    assert {condition for other, condition in conditions if other != "preflight"} == {"service_healthy"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_few_rights_and_bounds(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert "privileged" not in service
    if "profiles" not in service and name != "preflight":
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service


def test_the_images_run_as_users_without_rights_and_hold_no_secret() -> None:
    stages = re.split(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = dict(zip(stages[1::2], stages[2::2], strict=True))
    assert re.findall(r"^USER (\w+)$", text["hpo"], re.MULTILINE) == ["hpo"]
    assert re.findall(r"^USER (\w+)$", text["postgres"], re.MULTILINE) == ["postgres"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert "!.env" not in ignored


# make secrets --------------------------------------------------------------------------------------------------------


def secrets_of(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_make_secrets_writes_all_that_compose_asks_for_to_a_file_of_ones_own(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    secrets = secrets_of(tmp_path)
    assert set(secrets) == asked
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert len(set(secrets.values())) == len(secrets)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{24,}", value) for value in secrets.values())
    assert not any(value in made.stdout + made.stderr for value in secrets.values())


def test_make_secrets_keeps_what_is_there_and_adds_what_is_missing(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = secrets_of(tmp_path)
    (tmp_path / ".env").write_text(f"HPO_DATA_DIR=/data\nHPO_RAY_TOKEN={before['HPO_RAY_TOKEN']}")
    assert make_secrets(tmp_path).stdout == ".env: 5 added, 1 kept\n"
    after = secrets_of(tmp_path)
    assert after.pop("HPO_DATA_DIR") == "/data"
    assert set(after) == set(before)
    assert {name for name in before if after[name] == before[name]} == {"HPO_RAY_TOKEN"}
    assert make_secrets(tmp_path).stdout == ".env: 0 added, 6 kept\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_make_secrets_refuses_a_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    (tmp_path / ".env").touch(mode)
    (tmp_path / ".env").chmod(mode)
    refused = make_secrets(tmp_path)
    assert refused.returncode == 1
    assert f".env can be read by others (its mode is {mode:o}): chmod 600 .env" in refused.stderr
    assert (tmp_path / ".env").read_text(encoding="utf-8") == ""


def test_the_env_file_never_enters_the_repository(tmp_path: Path) -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


# Kubernetes ----------------------------------------------------------------------------------------------------------


def check(manifest: dict[str, Any]) -> None:
    """Validates a manifest by the models of Kubernetes' Python client: unknown and missing fields, and types."""
    from kuberay import RayCluster
    from kubernetes.client import models

    kind = manifest["kind"]
    (RayCluster if kind == "RayCluster" else getattr(models, f"V1{kind}")).model_validate(manifest)


@pytest.mark.parametrize("manifest", KUBERAY, ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}")
def test_the_manifest_has_the_fields_and_types_of_kubernetes(manifest: dict[str, Any]) -> None:
    check(manifest)


def test_the_check_finds_what_is_wrong() -> None:
    from pydantic import ValidationError

    wrong = deepcopy(KUBERAY[0])
    head = wrong["spec"]["headGroupSpec"]
    head["rayStartParams"]["num-cpus"] = 0
    head["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    del head["template"]["spec"]["containers"][0]["name"]
    with pytest.raises(ValidationError) as raised:
        check(wrong)
    assert {error["loc"][-1] for error in raised.value.errors()} == {"num-cpus", "imagePolicy", "name"}


def test_rays_own_autoscaler_reads_the_kuberay_manifest() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.util import validate_config

    config = _derive_autoscaling_config_from_ray_cr(KUBERAY[0])
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    assert kinds["workers"]["resources"]["CPU"] == 1
    assert (kinds["workers"]["min_workers"], kinds["workers"]["max_workers"]) == (0, 100)


def test_the_kubernetes_cluster_is_the_one_of_compose() -> None:
    head = KUBERAY[0]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    worker = KUBERAY[0]["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    plain = {entry["name"]: entry["value"] for entry in head["env"] if "value" in entry}
    for name, value in SERVICES["ray-head"]["environment"].items():
        if name.startswith("RAY_") or name in ("HPO_STORAGE", "MLFLOW_TRACKING_URI", "HPO_MLFLOW_URL"):
            assert plain[name] == re.sub(r"\$\{\w+:-(\w+)\}", r"\1", str(value))
    assert {entry["name"] for entry in worker["env"]} == {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
    (mlflow,) = (part for part in KUBERAY if (part["kind"], part["metadata"]["name"]) == ("Deployment", "mlflow"))
    container = mlflow["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == SERVICES["mlflow"]["command"]
    assert {entry["name"] for entry in container["env"]} == set(SERVICES["mlflow"]["environment"])
    version = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert KUBERAY[0]["spec"]["rayVersion"] == version[1]


def test_the_images_of_the_kubernetes_cluster_are_of_this_version() -> None:
    text = (ROOT / "deploy" / "kuberay.yaml").read_text(encoding="utf-8")
    images = re.findall(r"^ *image: (hpo\S*)$", text, re.MULTILINE)
    assert set(images) == {f"hpo:{hpo.__version__}", f"hpo-postgres:{hpo.__version__}"}


# Virtual machines ----------------------------------------------------------------------------------------------------


def test_ray_up_accepts_the_file_for_virtual_machines() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "deploy" / "vms.yaml").read_text(encoding="utf-8"))
    prepared = prepare_config(deepcopy(config))
    validate_config(prepared)
    assert prepared["available_node_types"]["local.cluster.node"]["max_workers"] == 2
    with pytest.raises(Exception, match="workers_max"):
        validate_config({**prepared, "workers_max": 3})


def test_credentials_on_virtual_machines_are_the_heads_alone() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "vms.yaml").read_text(encoding="utf-8"))
    worker = json.dumps([config["file_mounts"], config["setup_commands"], config["worker_start_ray_commands"]])
    assert not re.search("HPO_STORAGE|MLFLOW_TRACKING|pgpass|credentials", worker)
    assert "--num-cpus=0" in " ".join(config["head_start_ray_commands"])
    assert ".env" in config["rsync_exclude"]
