"""docker-compose.yaml without a Docker engine: it fits the Compose specification, and every name in it exists.

compose_spec.json is the specification's own schema as docker-compose 1.29.2 carries it on PyPI (Apache License 2.0).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from pipelines.settings import REPOSITORY, Settings

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("vigil:")}
IN_IMAGE = "/opt/vigil/"
each_service = pytest.mark.parametrize("name", SERVICES)


def variables(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def words(name: str) -> list[str]:
    service = SERVICES[name]
    check = [] if service["healthcheck"].get("disable") else service["healthcheck"]["test"]
    return [*service.get("entrypoint", []), *service.get("command", []), *check]


def test_it_fits_the_compose_specification():
    schema = json.loads(Path(__file__).with_name("compose_spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


@each_service
def test_every_image_is_pinned(name):
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.search(r"\d+\.\d+", tag), f"{name}: pin an exact version, not {tag!r}"
    assert tag not in ("latest", "stable")


def test_the_image_is_built_from_pinned_bases():
    bases = re.findall(r"^FROM (\S+)", (REPOSITORY / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)


@each_service
def test_every_service_restarts_says_how_it_is_and_is_limited(name):
    service = SERVICES[name]
    assert service["restart"] in ("unless-stopped", "on-failure:3")
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["logging"]["options"]["max-size"]
    check = service["healthcheck"]
    if service["restart"] == "unless-stopped":
        assert {"test", "interval", "timeout", "retries"} <= check.keys()
    else:
        assert check == {"disable": True}, "a job that ends has no health"


@each_service
def test_no_service_can_gain_rights(name):
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]
    assert not SERVICES[name].get("privileged")


def test_our_processes_run_without_rights_on_a_read_only_system():
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER vigil$", (REPOSITORY / "docker" / "Dockerfile").read_text(), re.MULTILINE)


@each_service
def test_it_is_reachable_only_where_people_need_it(name):
    service = SERVICES[name]
    published = [str(port) for port in service.get("ports", [])]
    if name in ("airflow-api-server", "data-docs"):
        assert all(port.startswith("127.0.0.1:") for port in published), "only the host's proxy may reach a page"
    else:
        assert published == [], f"{name} must not be published"
    outside = {"airflow-api-server", "data-docs", "airflow-worker-1", "airflow-worker-2"}
    assert set(service["networks"]) == ({"private", "outside"} if name in outside else {"private"})


def test_the_private_network_has_no_way_out():
    assert COMPOSE["networks"]["private"] == {"internal": True}


@each_service
def test_dependencies_volumes_and_secrets_are_declared(name):
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= SERVICES.keys()
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (REPOSITORY / source).exists()
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"]


@each_service
def test_a_dependency_is_waited_for_in_a_way_it_can_meet(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        ends = SERVICES[other]["restart"] != "unless-stopped"
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@each_service
def test_every_secret_named_is_granted(name):
    """And the other way round: a service holds no secret that it does not read."""
    service = SERVICES[name]
    text = json.dumps([words(name), variables(name)])
    read = set(re.findall(r"/run/secrets/([\w.]+)", text))
    for word in [*words(name), *(volume.split(":")[0] for volume in service.get("volumes", []))]:
        script = REPOSITORY / word.removeprefix(IN_IMAGE).removeprefix("./")
        if "docker/" in word and script.suffix == ".sh":
            read |= {s for s in COMPOSE["secrets"] if f"/{s}" in script.read_text()}
    if "create_databases.sh" in json.dumps(service.get("volumes", [])):
        read |= {s for s in COMPOSE["secrets"] if s.endswith("_database_password")}
    assert read == set(service.get("secrets", []))


def test_no_secret_stands_in_the_file(tmp_path):
    """Every secret is a file in a folder that git ignores, and what makes the files makes exactly these."""
    files = {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert {str(Path(file).parent) for file in files} == {"docker/secrets"}
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=REPOSITORY, capture_output=True, text=True)
    assert set(ignored.stdout.split()) == files
    subprocess.run([sys.executable, REPOSITORY / "docker" / "make_secrets.py", tmp_path], check=True)
    assert {f"docker/secrets/{path.name}" for path in tmp_path.iterdir()} == files
    suspicious = re.compile(r"(password|secret|token|key|://\w+:\w+@)", re.IGNORECASE)
    for name in SERVICES:
        for variable, value in variables(name).items():
            if suspicious.search(f"{variable}{value}"):
                assert "/run/secrets/" in value, f"{name}: {variable} must come from a file"


@each_service
def test_every_vigil_variable_is_a_setting(name):
    for variable in variables(name):
        if variable.startswith("VIGIL_"):
            field = variable.removeprefix("VIGIL_").lower()
            assert field in Settings.model_fields or field.removesuffix("_file") in Settings.model_fields
    if name.startswith("airflow-"):
        assert variables(name)["VIGIL_ENVIRONMENT"] == "production"


def test_every_file_variable_is_known_to_the_entrypoint():
    handed = re.search(r"for name in (.*); do", (REPOSITORY / "docker" / "entrypoint.sh").read_text())
    known = {f"{name}_FILE" for name in handed[1].split()}
    for name in OURS:
        asked = {v for v in variables(name) if v.endswith("_FILE")} - {"VIGIL_TOKEN_KEY_FILE", "ADMIN_PASSWORD_FILE"}
        assert asked <= known


def ask_airflow(home: Path, code: str, *arguments: str) -> str:
    """Last line that a piece of code prints in a process of its own, with Airflow configured as the compose file does."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip().rsplit("\n", 1)[-1]


def test_every_airflow_variable_is_an_option_of_airflow(tmp_path):
    """Asked of Airflow itself; an option read from a command must be one of those it reads so."""
    code = (
        "import json; from airflow.configuration import retrieve_configuration_description as all_of; "
        "print(json.dumps({s: {o: d.get('sensitive', False) for o, d in v['options'].items()} "
        "for s, v in all_of(include_providers=True).items()}))"
    )
    options = json.loads(ask_airflow(tmp_path, code))
    for name in SERVICES:
        for variable in variables(name):
            if variable.startswith("AIRFLOW__"):
                _, section, option = variable.lower().split("__")
                plain = option.removesuffix("_cmd")
                assert plain in options[section], variable
                assert plain == option or options[section][plain], (
                    f"{variable}: Airflow does not read it from a command"
                )


@each_service
def test_every_command_exists(name):
    if name not in OURS:
        return
    for word in words(name):
        if word.startswith(IN_IMAGE):
            script = REPOSITORY / word.removeprefix(IN_IMAGE)
            assert script.is_file()
            assert script.suffix != ".sh" or os.access(script, os.X_OK), f"{word} is not executable"
    copied = (REPOSITORY / "docker" / "Dockerfile").read_text()
    for folder in ("dags", "plugins", "docker", "models", "policies", "expectations", "feature_repo"):
        assert re.search(rf"^COPY {folder} {folder}$", copied, re.MULTILINE)


def test_airflow_understands_every_command(tmp_path):
    """Parsed by Airflow's own parser, which knows the commands of its providers."""
    commands = [SERVICES[name]["command"] for name in OURS if SERVICES[name]["command"][0] == "airflow"]
    commands += [SERVICES[name]["healthcheck"]["test"][1:] for name in OURS if "jobs" in words(name)]
    assert len(commands) == 8
    code = (
        "import json, sys; from airflow.cli.cli_parser import get_parser; parser = get_parser()\n"
        "for command in json.loads(sys.argv[1]): parser.parse_args(command[1:])"
    )
    ask_airflow(tmp_path, code, json.dumps(commands))


def test_celery_is_asked_about_the_worker_it_runs_as():
    for name in ("airflow-worker-1", "airflow-worker-2"):
        assert SERVICES[name]["hostname"] == name
        assert words(name)[-1] == f"celery@{name}"


PAGE = (REPOSITORY / "docs" / "production.md").read_text()


def test_the_production_page_names_what_exists():
    for script in re.findall(r"docker/[\w/]+\.\w+", PAGE):
        assert (REPOSITORY / script).is_file(), script
    for service in re.findall(r"docker compose exec ([\w-]+)", PAGE):
        assert service in SERVICES
    pictured = PAGE.split("## First start")[0]
    for name in SERVICES.keys() - {"init"}:
        assert name.removeprefix("airflow-") in pictured, f"{name} is missing in the picture"


def test_the_production_page_lists_roles_and_pools():
    roles = json.loads((REPOSITORY / "docker" / "roles.json").read_text())
    who_may = PAGE.split("## Who may do what")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", who_may, re.MULTILINE) == list(roles)
    for pool in json.loads((REPOSITORY / "dags" / "pools.json").read_text()):
        assert f"`{pool}`" in PAGE


def test_the_commands_of_the_production_page_are_understood():
    commands = set(re.findall(r"python -m pipelines (\w+)", PAGE))
    assert commands
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "pipelines", command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
