"""What there is to serve: the newest version of each model in the repository, or those that were asked for."""

from dataclasses import replace
from pathlib import Path

from resserve.errors import ResServeError
from resserve.manifest import Manifest
from resserve.repository import Version, read_version, scan

# A manifest may set these, and this service applies none of them yet: it serves only versions with their defaults.
_NOT_APPLIED = {
    "input": ("name", "dtype", "layout", "channels", "batch", "background"),
    "output": ("name", "kind", "class_axis", "temperature"),
}


def find(repository: Path, wanted: list[str]) -> list[Version]:
    """The versions to serve, by name.

    Args:
        repository: the folder.
        wanted: NAME or NAME@VERSION; empty means the newest version of every model.

    Raises:
        ResServeError: the folder is missing or empty, or a wanted model or version is not in it.
    """
    available = scan(repository)
    chosen = [_choose(text, available, repository) for text in wanted or available]
    if len({name for name, _ in chosen}) < len(chosen):
        raise ResServeError("Each model can be served in one version; name it once.")
    return [_servable(read_version(repository, name, number)) for name, number in chosen]


def _servable(version: Version) -> Version:
    """The version, or its refusal where the answers would not be those that its manifest asks for."""
    field = _not_applied(version.manifest) if version.manifest else ""
    if not field:
        return version
    problem = f"{version.directory} asks for {field}, which this ResServe does not serve; upgrade ResServe."
    return replace(version, manifest=None, problem=problem)


def _not_applied(manifest: Manifest) -> str:
    for part, names in _NOT_APPLIED.items():
        spec = getattr(manifest, part)
        for name in names:
            value = getattr(spec, name)
            if value != type(spec).model_fields[name].default:
                return f"{part}.{name} = {value!r}"
    return ""


def _choose(text: str, available: dict[str, list[int]], repository: Path) -> tuple[str, int]:
    name, _, version = text.partition("@")
    if name not in available:
        raise ResServeError(f"There is no model {name!r} in {repository}; there is: {', '.join(available)}.")
    if not version:
        return name, available[name][-1]
    if not version.isdecimal() or int(version) not in available[name]:
        numbers = ", ".join(map(str, available[name]))
        raise ResServeError(f"Model {name} has no version {version!r} in {repository}; there is: {numbers}.")
    return name, int(version)
