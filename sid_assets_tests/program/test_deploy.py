"""The files in `deploy/`: versions are stated, no secret is in them, all keys are known."""

import re
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from sid_assets.settings import Settings
from sid_assets.variables import SECRETS, require_known, variable
from sid_assets_tests.service import DEPLOY, REPOSITORY, compose

ALL = ("compose.yaml", "compose.try.yaml", "compose.gpu.yaml")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|WEBHOOK")
DOCS = (REPOSITORY / "docs" / "in_production.md").read_text()


def values() -> dict[str, Any]:
    """The values for Dagster's chart."""
    return yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())


def dot_env() -> dict[str, str]:
    """All variables of `env.example`, also those that are commented out."""
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", (DEPLOY / "env.example").read_text(), re.M)
    return dict(lines)


def test_every_image_has_a_version():
    services = compose(*ALL)["services"]
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name
    bases = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert len(bases) == 2
    assert all(re.search(r":\d+\.\d+", image) for image in bases)


def test_the_image_is_of_this_version_of_the_package():
    version = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert version
    services = compose(*ALL)["services"]
    for name in ("code", "daemon", "web", "make-bucket"):
        assert services[name]["image"] == f"sid_assets:{version[1]}"
    assert values()["dagsterDaemon"]["image"]["tag"].startswith(version[1])


def test_the_image_runs_as_a_user_without_rights():
    last = (DEPLOY / "Dockerfile").read_text().rsplit("FROM ", 1)[1]
    (user,) = re.findall(r"^USER (\d+)$", last, re.M)
    assert int(user) >= 1000
    assert f"--uid {user}" in last
    security = values()["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    assert security["securityContext"]["runAsUser"] == int(user)


def test_what_the_image_copies_exists_and_is_sent_to_docker():
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    for path in " ".join(copied).split():
        assert (REPOSITORY / path).exists()
        assert path == "." or f"!{path}" in ignore
    assert ignore.splitlines()[1] == "*"
    assert ".env" not in ignore.replace("no .env", "")


@pytest.mark.parametrize("name", ALL)
def test_no_secret_is_in_a_compose_file(name):
    for service in compose(name)["services"].values():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert value in ("${POSTGRES_PASSWORD:?Set it in .env}", "for-trying"), key


def test_secrets_have_no_value_in_the_example_and_in_the_values_of_the_chart():
    example = dot_env()
    assert {*SECRETS, "POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY"} <= set(example)
    assert [key for key, value in example.items() if SECRET.search(key) and value] == []
    deployment = values()["dagster-user-deployments"]["deployments"][0]
    assert [key for key in deployment["env"] if SECRET.search(key)] == []
    assert "postgresqlPassword" not in values()["postgresql"]


def test_only_the_code_server_has_the_settings_and_the_secrets():
    services = compose("compose.yaml")["services"]
    assert [name for name, service in services.items() if "env_file" in service] == ["code"]
    for name in ("daemon", "web"):
        assert {key.split("_")[0] for key in services[name]["environment"]} == {"POSTGRES", "CODE"}


def test_settings_in_the_examples_exist():
    known = [variable(name) for name in Settings.model_fields]
    require_known(dict.fromkeys(dot_env(), ""), known)
    env = values()["dagster-user-deployments"]["deployments"][0]["env"]
    require_known(env, known)
    given = {**dot_env(), **env}
    assert {key for key in given if key.startswith("SID_")} - set(known) == {"SID_FAILURE_WEBHOOK"}


def test_the_ui_is_reached_from_this_machine_only():
    services = compose(*ALL)["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["web"]
    assert services["web"]["ports"] == ["127.0.0.1:3000:3000"]
    assert values()["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert values()["ingress"] == {"enabled": False}


def test_one_run_at_a_time_in_both():
    instance = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    own = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert instance["concurrency"] == own["concurrency"]
    assert values()["concurrency"] == {
        "enabled": True,
        "runs": {"maxConcurrentRuns": 1},
        "pools": {"granularity": "op", "defaultLimit": 1},
    }


def test_the_settings_of_dagster_are_what_dagster_takes(monkeypatch):
    for name in ("HOST", "PORT", "USER", "PASSWORD", "DB"):
        monkeypatch.setenv(f"POSTGRES_{name}", "5432")
    settings, _ = dagster_instance_config(str(DEPLOY))
    assert settings["run_monitoring"]["enabled"]
    shown = next(
        text for text in re.findall(r"```yaml\n(.*?)```", DOCS, re.S) if "postgres_db" in text
    )
    of_file = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())["storage"]
    assert yaml.safe_load(shown)["storage"] == of_file


KNOWN = {
    "": "global generatePostgresqlPasswordSecret postgresql dagster-user-deployments runLauncher "
    "dagsterDaemon dagsterWebserver ingress concurrency computeLogManager telemetry",
    "global": "postgresqlSecretName dagsterHome serviceAccountName celeryConfigSecretName",
    "postgresql": "enabled image postgresqlHost postgresqlUsername postgresqlPassword "
    "postgresqlDatabase postgresqlParams postgresqlScheme service",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments",
    "dagster-user-deployments.deployments": "name image dagsterApiGrpcArgs codeServerArgs "
    "includeConfigInLaunchedRuns port replicaCount env envConfigMaps envSecrets annotations "
    "nodeSelector affinity tolerations podSecurityContext securityContext resources livenessProbe "
    "readinessProbe startupProbe labels volumeMounts volumes",
    "runLauncher": "type config",
    "runLauncher.config": "k8sRunLauncher celeryK8sRunLauncher customRunLauncher",
    "runLauncher.config.k8sRunLauncher": "image imagePullPolicy jobNamespace loadInclusterConfig "
    "kubeconfigFile envConfigMaps envSecrets envVars volumeMounts volumes labels "
    "failPodOnRunFailure resources schedulerName securityContext runK8sConfig",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig podSpecConfig "
    "podTemplateSpecMetadata jobSpecConfig jobMetadata",
    "dagsterDaemon": "enabled image runCoordinator heartbeatTolerance env envConfigMaps envSecrets "
    "deploymentLabels labels nodeSelector affinity tolerations podSecurityContext securityContext "
    "resources livenessProbe readinessProbe startupProbe annotations runMonitoring runRetries "
    "sensors schedules volumeMounts volumes",
    "dagsterDaemon.runCoordinator": "enabled type config",
    "dagsterDaemon.runMonitoring": "enabled startTimeoutSeconds cancelTimeoutSeconds "
    "maxResumeRunAttempts pollIntervalSeconds maxRuntimeSeconds freeSlotsAfterRunEndSeconds",
    "concurrency": "enabled pools runs",
    "concurrency.pools": "defaultLimit granularity opGranularityRunBuffer",
    "concurrency.runs": "maxConcurrentRuns tagConcurrencyLimits",
}
"""The keys that the chart's schema knows, in the sections that the values use."""


@pytest.mark.parametrize("section", KNOWN)
def test_the_values_have_only_keys_that_the_chart_knows(section):
    found: Any = values()
    for key in section.split(".") if section else ():
        found = found[key]
    for part in found if isinstance(found, list) else [found]:
        assert set(part) <= set(KNOWN[section].split()), section


def test_pods_of_runs_ask_for_a_gpu_and_have_the_secrets_of_the_code_server():
    run = values()["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert run["containerConfig"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (deployment,) = values()["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert [secret["name"] for secret in deployment["envSecrets"]] == ["sid-assets"]
    assert "never run on a cluster" in DOCS


def test_the_docs_name_every_file():
    for path in DEPLOY.iterdir():
        assert path.name in DOCS or path.name.startswith("Dockerfile"), path.name
