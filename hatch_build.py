"""The build step: generates `roomful/wire/centrifuge_pb2.py` and its stub from `centrifuge.proto`.

Runs for wheels and for editable installs; the source distribution carries the .proto alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTO = "src/roomful/wire/centrifuge.proto"
GENERATED = ["src/roomful/wire/centrifuge_pb2.py", "src/roomful/wire/centrifuge_pb2.pyi"]


class CentrifugeModule(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Writes beside the .proto. Git ignores what is generated, and so would hatchling: hence the artifacts."""
        source = Path(self.root, "src")
        code = protoc.main(
            ["protoc", f"-I{source}", f"--python_out={source}", f"--pyi_out={source}", str(Path(self.root, PROTO))]
        )
        if code != 0:
            raise RuntimeError(f"protoc ended with {code} on {PROTO}")
        build_data["artifacts"] += GENERATED
