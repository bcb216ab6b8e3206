"""Golden wire documents: existing ones must not change, new ones can be added.

``wire/good-KIND-….json`` must decode as KIND; ``wire/bad-KIND-….json`` must be refused at its path in
``wire/expected-paths.json``.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leadline.errors import WireError
from leadline.model import Failure
from leadline.wire import codec, control
from leadline.wire.batch import Ack, Batch, ClockState, Gap, GapReason, TargetWindow, decode_batch
from tests.contract.agent_v1 import AgentV1

FOLDER = Path(__file__).parent / "wire"
EXPECTED_PATHS: dict[str, str] = json.loads((FOLDER / "expected-paths.json").read_text())
#: Document types by the KIND in the names of the golden files.
KINDS: dict[str, type[msgspec.Struct]] = {
    "batch": Batch,
    "ack": Ack,
    "plan": control.Plan,
    "enrolrequest": control.EnrolRequest,
    "enrolanswer": control.EnrolResponse,
    "rotaterequest": control.KeyRotationRequest,
    "tokenrequest": control.TokenRequest,
    "tokenanswer": control.TokenResponse,
    "meshanswer": control.MeshResponse,
}


def names(pattern: str) -> list[str]:
    """Return the names of the golden files that match a pattern."""
    return sorted(path.name for path in FOLDER.glob(pattern))


def read(name: str) -> Any:
    """Decode a golden file as the kind in its name."""
    kind, data = KINDS[name.removesuffix(".json").split("-")[1]], (FOLDER / name).read_bytes()
    return decode_batch(data) if kind is Batch else codec.decode(data, kind)


@pytest.mark.parametrize("name", names("good-*.json"))
def test_a_good_document_is_understood(name: str) -> None:
    """The document decodes, and encoding and decoding it again gives the same."""
    document = read(name)

    assert codec.decode(codec.encode(document), type(document)) == document


@pytest.mark.parametrize("name", names("bad-*.json"))
def test_a_bad_document_is_refused_at_its_path(name: str) -> None:
    """The error has the path of the invalid value."""
    with pytest.raises(WireError) as refused:
        read(name)

    assert refused.value.path == EXPECTED_PATHS[name]


def test_every_bad_document_has_its_path_and_every_kind_a_good_one() -> None:
    """The folder is complete."""
    assert sorted(EXPECTED_PATHS) == names("bad-*.json")
    assert {name.removesuffix(".json").split("-")[1] for name in names("good-*.json")} == set(KINDS)


def test_the_every_key_document_is_complete() -> None:
    """A new key of a batch needs a golden document that contains it."""
    document = json.loads((FOLDER / "good-batch-v2-every-key.json").read_text())

    assert set(document) == {field.encode_name for field in msgspec.structs.fields(Batch)}
    for part, kind in ((document["series"][0], TargetWindow), (document["gaps"][0], Gap)):
        assert set(part) == {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(document["clock"]) == {field.encode_name for field in msgspec.structs.fields(ClockState)}


def test_keys_missing_in_version_1_are_none() -> None:
    """A batch of version 1 has no clocks and no gaps, and an acknowledgement has no counts."""
    batch, ack = read("good-batch-v1-every-key.json"), read("good-ack-v1.json")

    assert (batch.v, batch.boottime_us, batch.boot_id, batch.clock, batch.clock_offset_us, batch.gaps) == (
        1, None, None, None, None, [],
    )  # fmt: skip
    assert (ack.batches, ack.received_at_us) == (None, None)


def test_the_frozen_agent_of_version_1_writes_the_golden_document() -> None:
    """The frozen agent and the golden document are independent and equal."""
    golden = json.loads((FOLDER / "good-batch-v1-every-key.json").read_text())
    agent = AgentV1(port=0, name=golden["agent"], epoch=golden["epoch"], seq=golden["seq"], mesh_version=3)

    agent.seal(golden["sealed_at_us"], golden["monotonic_us"], golden["series"])

    assert json.loads(gzip.decompress(agent.unsent[0])) == golden


@pytest.mark.parametrize("kind", [*KINDS.values(), TargetWindow, Gap, ClockState, control.PlanTarget])
@pytest.mark.source_tree
def test_every_key_is_documented(kind: type[msgspec.Struct]) -> None:
    """docs/wire.md has every key of every document, every failure and every reason of a gap."""
    page = (FOLDER.parents[2] / "docs" / "wire.md").read_text()

    missing = [field.encode_name for field in msgspec.structs.fields(kind) if f"`{field.encode_name}`" not in page]
    assert missing == []
    assert [failure.value for failure in Failure if f"`{failure.value}`" not in page] == []
    assert [reason.value for reason in GapReason if f"`{reason.value}`" not in page] == []
