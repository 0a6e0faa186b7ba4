"""The whole OpenAPI document, tried with made-up requests: no server error, and every answer as documented."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from busbar.api.context import Settings
from busbar.history import open_database
from tests.market import ask, bid
from tests.served import followed, served
from tests.services.test_meters_door import running as door_running
from tests.services.test_relay import running

EXAMPLES = int(os.environ.get("BUSBAR_API_EXAMPLES", "5"))
"""Made-up requests an operation."""

schema = schemathesis.pytest.from_fixture("document")

WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def document(deployed, tmp_path_factory):
    """The document of a server over a market with a bit of everything in it; streams end at once."""
    state = deployed.devnet.snapshot()
    folder = tmp_path_factory.mktemp("schema")
    engine = open_database(f"sqlite:///{folder / 'index.db'}")
    actors = deployed.actors
    with (
        running(deployed, folder) as relay,
        door_running(deployed, folder, rate="100000/minute", address_rate="100000/minute") as gateway,
        followed(deployed.chain, engine),
        served(
            Settings(
                engine,
                deployed.chain,
                rate=None,
                stream_seconds=0,
                relay_url=str(relay.client.base_url),
                gateway_url=str(gateway.client.base_url),
            )
        ) as url,
    ):
        roof = deployed.meter("roof", actors.producer)
        deployed.submit(roof.read(export_wh=2_000))
        deployed.enter(actors.producer, ask(300, 1_000))
        deployed.enter(actors.consumer, bid(310, 700))
        deployed.next_epoch()
        deployed.clear()
        yield schemathesis.openapi.from_url(url + "/api/v1/openapi.json")
    engine.dispose()
    deployed.devnet.restore(state)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation__whatever_is_asked__answers_as_documented(case):
    case.call_and_validate(checks=[CHECKS.get_one(name) for name in WANTED])


def test_document__is_openapi_3_1_and_names_every_operation(document):
    raw = document.raw_schema
    assert raw["openapi"].startswith("3.1")
    operations = [operation for methods in raw["paths"].values() for operation in methods.values()]
    assert len({o["operationId"] for o in operations}) == len(operations) == 58
    assert all(o.get("description") and o["tags"] for o in operations)
    refused = [o["responses"]["4XX"]["content"] for o in operations]
    assert all(list(content) == ["application/problem+json"] for content in refused)
