"""The compiler's settings and versions are written in several files; they agree."""

import json
import subprocess
import tomllib

import pytest
import yaml

from busbar import tools

ROOT = tools.project_root()
APE = yaml.safe_load((ROOT / "ape-config.yaml").read_text())
PACKAGES = json.loads((ROOT / "package.json").read_text())["dependencies"]


def test_foundry_settings__match_ape_config():
    foundry = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]
    solidity = APE["solidity"]
    assert foundry["solc"] == f".cache/solcx/solc-v{solidity['version']}"
    assert foundry["via_ir"] == solidity["via_ir"]
    assert foundry["optimizer"] == solidity["optimize"]
    assert foundry["optimizer_runs"] == solidity["optimization_runs"]
    assert foundry["evm_version"] == solidity["evm_version"]


def test_versions__are_the_same_everywhere():
    assert APE["solidity"]["version"] == PACKAGES["solc"] == tools.SOLC_VERSION
    (openzeppelin,) = APE["dependencies"]
    assert openzeppelin["version"] == PACKAGES["@openzeppelin/contracts"]
    locked = (ROOT / "requirements.txt").read_text()
    for plugin in APE["plugins"]:
        assert f"ape-{plugin['name']}=={plugin['version']} " in locked


def test_solc__large_output_on_a_pipe__is_complete():
    source = (
        "contract C {"
        + "".join(f"function f{i}(uint a) public pure returns(uint) {{return a;}}" for i in range(700))
        + "}"
    )
    request = {
        "language": "Solidity",
        "sources": {"C.sol": {"content": source}},
        "settings": {"outputSelection": {"*": {"*": ["abi"]}}},
    }
    done = subprocess.run(
        [tools.solc_wrapper(), "--standard-json"], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    assert len(done.stdout) > 65_536
    assert len(json.loads(done.stdout)["contracts"]["C.sol"]["C"]["abi"]) == 700


def test_solc__version__reads_as_the_native_compiler_prints_it():
    done = subprocess.run([tools.solc_wrapper(), "--version"], capture_output=True, text=True, check=True)
    assert f"Version: {tools.SOLC_VERSION}+commit." in done.stdout


@pytest.mark.parametrize("binary", [tools.anvil_binary, tools.forge_binary, tools.cast_binary])
def test_foundry_binary__is_the_program_itself(binary):
    assert binary().stat().st_size > 1_000_000


def test_anvil_binary__without_node_modules__names_make_setup(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "project_root", lambda: tmp_path)
    with pytest.raises(tools.ToolMissing, match="make setup"):
        tools.anvil_binary()
