"""What pylat is shipped by: the agent's unit, the Debian package, and the image with its DaemonSet; that they agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from configparser import ConfigParser
from importlib.metadata import requires
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from latency import __version__
from latency.agent.config import DEFAULT_LISTEN, read
from tests.requirements import require

pytestmark = pytest.mark.xdist_group("packaging")

UNIT = "share/systemd/pylat-agent.service"
SITE = "usr/lib/pylat/lib/python3/site-packages/"
EXPOSURE = 30  # tenths, of 10.0; what systemd-analyze security allows at most


def unit(repository: Path) -> Mapping[str, str]:
    """The settings of the section [Service]; each stands there once."""
    parser = ConfigParser(interpolation=None, delimiters=["="])
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(repository / UNIT)
    return parser["Service"]


def manifests(repository: Path) -> dict[str, Any]:
    """Of Kubernetes, by their kinds."""
    text = (repository / "shipping/container/daemonset.yaml").read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def pod(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = manifests(repository)["DaemonSet"]["spec"]["template"]["spec"]
    return found


def container(repository: Path) -> dict[str, Any]:
    (found,) = pod(repository)["containers"]
    assert isinstance(found, dict)
    return found


# -- rights ---------------------------------------------------------------------------------------


def test_the_unit_and_the_daemon_set_have_the_capabilities_that_the_documents_name(repository: Path) -> None:
    held = set(unit(repository)["AmbientCapabilities"].split())
    assert set(unit(repository)["CapabilityBoundingSet"].split()) == held
    capabilities = container(repository)["securityContext"]["capabilities"]
    assert capabilities["drop"] == ["ALL"]
    assert {f"CAP_{name}" for name in capabilities["add"]} == held
    needs = (repository / "README.md").read_text().partition("## What it needs")[2].partition("\n## ")[0]
    assert set(re.findall(r"CAP_\w+", needs)) == held | {"CAP_SYS_ADMIN"}  # the last one for older kernels
    page = (repository / "docs/agent.md").read_text().partition("## Installing")[2]
    assert {f"CAP_{name}" for name in re.findall(r"^\| `CAP_(\w+)` \|", page, re.MULTILINE)} == held


# -- the unit -------------------------------------------------------------------------------------


def analyzed(*arguments: object) -> subprocess.CompletedProcess[str]:
    require(shutil.which("systemd-analyze"), "systemd-analyze of systemd")
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_has_no_complaint_about_the_unit(repository: Path, tmp_path: Path) -> None:
    # in the place of the program that is not installed here, one that is
    there = (repository / UNIT).read_text().replace("/usr/bin/pylat", "/bin/sh")
    (tmp_path / Path(UNIT).name).write_text(there)
    said = analyzed("verify", "--man=no", tmp_path / Path(UNIT).name)
    assert [line for line in said.stderr.splitlines() if "pylat-agent" in line] == []


def test_the_unit_is_as_closed_as_it_was(repository: Path) -> None:
    said = analyzed("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", repository / UNIT)
    assert said.returncode == 0, said.stdout[-300:] + said.stderr


# -- the package ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(Path.home()), "PYLAT_PACKAGE_TO": str(folder)}
    subprocess.run([repository / "script/package"], env=environ, check=True)
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def files(package: Path) -> dict[str, tarfile.TarInfo]:
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        return {each.name.removeprefix("./"): each for each in tar if not each.isdir()}


def field(package: Path, name: str) -> str:
    return subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, text=True, check=True).stdout.strip()


def carried(repository: Path) -> dict[str, Version]:
    lines = re.findall(r"^([\w-]+)==(\S+)", (repository / "shipping/carried.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in lines}


def test_the_package_is_called_by_the_version(package: Path) -> None:
    assert package.name == f"pylat_{__version__}_amd64.deb"
    assert field(package, "Version") == __version__


def test_all_of_pylat_is_in_the_package(repository: Path, files: dict[str, tarfile.TarInfo]) -> None:
    sources = [
        path for path in (repository / "latency").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted = {f"{SITE}{path.relative_to(repository).as_posix()}" for path in sources}
    data = [*(repository / "bpf").rglob("*.[ch]"), *(repository / "offsets").glob("*.json")]
    wanted |= {f"{SITE}latency/_data/{path.relative_to(repository).as_posix()}" for path in data}
    wanted |= {
        *("usr/bin/pylat", "usr/share/man/man1/pylat.1.gz", "usr/share/bash-completion/completions/pylat"),
        *("usr/share/zsh/vendor-completions/_pylat", "usr/share/fish/vendor_completions.d/pylat.fish"),
        *("usr/lib/systemd/system/pylat-agent.service", "etc/pylat/agent.yaml", "usr/share/doc/pylat/docs/agent.md"),
        *("usr/share/doc/pylat/copyright", "usr/share/doc/pylat/changelog.gz"),
        *("usr/share/pylat/dashboard.json", "usr/share/pylat/alerts.yml"),
    }
    assert wanted - files.keys() == set()


def test_only_pylat_is_a_command_and_nothing_was_compiled_elsewhere(files: dict[str, tarfile.TarInfo]) -> None:
    assert [name for name in files if name.startswith("usr/bin/")] == ["usr/bin/pylat"]
    assert [name for name in files if name.endswith(".pyc")] == []
    assert {(each.uname, each.gname) for each in files.values()} == {("root", "root")}


def test_what_is_compiled_for_one_python_is_there_for_both(files: dict[str, tarfile.TarInfo]) -> None:
    compiled = {version: {name for name in files if f".cpython-{version}-" in name} for version in ("311", "313")}
    assert compiled["311"]
    assert {name.replace("-311-", "-313-") for name in compiled["311"]} == compiled["313"]


def test_what_pylat_needs_is_carried_or_the_distributions(repository: Path, package: Path) -> None:
    depends = dict(re.findall(r"python3-([\w-]+) \(>= (?:1:)?([\d.]+)\)", field(package, "Depends")))
    debian = {"pyyaml": "yaml"}
    for need in map(Requirement, requires("pylat-bpf") or ()):
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("agent", "export", "live")):
            name = canonicalize_name(need.name)
            there = carried(repository).get(name) or Version(depends[debian.get(name, name)])
            assert there in need.specifier, need


def test_the_example_is_the_administrators_and_right(repository: Path, package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-I", package, "conffiles"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["/etc/pylat/agent.yaml"]
    assert len(read(repository / "shipping/debian/agent.yaml", {}).rules) == 1


# -- the image ------------------------------------------------------------------------------------


def test_the_rules_of_the_daemon_set_are_right_and_its_port_is_the_agents(repository: Path, tmp_path: Path) -> None:
    ((name, text),) = manifests(repository)["ConfigMap"]["data"].items()
    (tmp_path / name).write_text(text)
    config = read(tmp_path / name, {})
    assert config.host == "0.0.0.0"  # the probes and Prometheus ask the pod's own address
    (port,) = container(repository)["ports"]
    dockerfile = (repository / "shipping/container/Dockerfile").read_text()
    ports = {config.port, port["containerPort"], int(re.findall(r"EXPOSE (\d+)", dockerfile)[0])}
    assert ports == {int(DEFAULT_LISTEN.rpartition(":")[2])}


def test_the_pod_sees_the_node_reads_its_rules_and_is_asked_whether_it_goes_on(repository: Path) -> None:
    assert pod(repository)["hostPID"] is True
    (image,) = re.findall(r":([\d.]+)$", container(repository)["image"])
    assert image == __version__
    mounts = {each["name"]: each["mountPath"] for each in container(repository)["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in pod(repository)["volumes"]}
    assert container(repository)["args"] == ["agent", "--config", f"{mounts['rules']}/agent.yaml"]
    dockerfile = (repository / "shipping/container/Dockerfile").read_text()
    assert f"XDG_CACHE_HOME={mounts['cache']}\n" in dockerfile
    probes = [container(repository)[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")]
    assert probes == ["/healthz", "/readyz"]
