"""The versions that a frontend knows, by name and number."""

from collections.abc import Iterator

from resserve.model_key import ModelKey
from service.dispatch.version import Version
from service.errors import InvalidRequestError, UnknownModelError

# A status message has to fit into a header of 16 kB, and the caller knows what it sent.
_MAX_NAME_CHARS = 100


class Registry:
    """Versions, added and removed while others are served."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_name: dict[str, dict[int, Version]] = {}

    def __iter__(self) -> Iterator[Version]:
        """Go through all versions, by name in the order in which the names came, newest version last."""
        for versions in self._by_name.values():
            yield from versions.values()

    def add(self, version: Version) -> None:
        """Take a version in."""
        name, number = version.key
        versions = {**self._by_name.get(name, {}), number: version}
        self._by_name[name] = dict(sorted(versions.items()))

    def get(self, key: ModelKey) -> Version | None:
        """Find exactly this version; None where there is none."""
        return self._by_name.get(key.name, {}).get(key.version)

    def remove(self, key: ModelKey) -> None:
        """Forget a version and close it."""
        version = self._by_name[key.name].pop(key.version)
        if not self._by_name[key.name]:
            del self._by_name[key.name]
        version.close()

    def resolve(self, name: str, number: int) -> Version:
        """Find the version that a call means.

        Args:
            name: of the model; empty where only one model is served.
            number: of the version; 0 takes the newest that is ready, or the newest.

        Raises:
            InvalidRequestError: the call names no model, and there are several.
            UnknownModelError: there is no such model or version.
        """
        if not name and len(self._by_name) > 1:
            raise InvalidRequestError(f"Several models are served; name one of: {', '.join(self._by_name)}.")
        name = name or next(iter(self._by_name), "")
        versions = self._by_name.get(name)
        if versions is None:
            served = ", ".join(self._by_name) or "none yet"
            raise UnknownModelError(f"There is no model {name[:_MAX_NAME_CHARS]!r}; there is: {served}.")
        if number:
            if number not in versions:
                served = ", ".join(map(str, versions))
                raise UnknownModelError(f"Model {name} is served in version {served}, not {number}.")
            return versions[number]
        newest_first = list(reversed(versions.values()))
        ready = (version for version in newest_first if version.description.state == "READY")
        return next(ready, newest_first[0])

    def close(self) -> None:
        """Forget and close every version."""
        for version in list(self):
            self.remove(version.key)
