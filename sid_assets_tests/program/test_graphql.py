"""The real workspace through GraphQL: a run is launched, and its checks are seen."""

import pytest

from sid_assets_tests.dagster_dev import dagster_dev
from sid_assets_tests.graph import write_catalog, write_interactions

pytestmark = pytest.mark.service

RUN_SECONDS = 240

GRAPH = """
{ assetNodes { assetKey { path } groupName jobNames hasAssetChecks } }
"""
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
CHECKS = """
query Checks($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            blocking
            executionForLatestMaterialization { status evaluation { severity success } }
          }
        }
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphql")
    frame = write_catalog(folder / "catalog.parquet")
    write_interactions(folder / "interactions.parquet", frame.pid)
    settings = {
        "SID_CATALOG": str(folder / "catalog.parquet"),
        "SID_INTERACTIONS": str(folder / "interactions.parquet"),
        "SID_CODEBOOK_SIZE": "8",
    }
    with dagster_dev(folder / "home", settings) as started:
        yield started


def test_a_run_of_the_job_is_launched_and_its_checks_pass(server):
    nodes = {"/".join(n["assetKey"]["path"]): n for n in server.ask(GRAPH)["assetNodes"]}
    assert "refresh_semantic_ids" in nodes["pid2sid"]["jobNames"]
    params = {
        "selector": {
            "repositoryName": "__repository__",
            "repositoryLocationName": "sid_assets.definitions",
            "jobName": "refresh_semantic_ids",
        },
        "mode": "default",
        "runConfigData": {},
    }
    launched = server.ask(LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert server.wait_for(launched["run"]["runId"], RUN_SECONDS) == "SUCCESS"
    assert (server.data_dir / "pid2sid.parquet").exists()
    for name in ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes", "pid2sid"):
        node = server.ask(CHECKS, key={"path": [name]})["assetNodeOrError"]
        checks = node["assetChecksOrError"]["checks"]
        assert checks
        for check in checks:
            assert check["executionForLatestMaterialization"]["status"] == "SUCCEEDED", check
