"""Every message between the service's processes, typed; `service.ipc.connection` sends and receives them.

Control connections run from the supervisor to each worker and each frontend, data connections from each frontend to
each worker; they never carry pixels. All times are CLOCK_MONOTONIC, which every process of a machine shares. A message
marked (fd) brings one file descriptor along.
"""

from typing import Literal

import msgspec

from resserve.model_key import ModelKey

State = Literal["LOADING", "READY", "FAILED"]
STATES: tuple[State, ...] = ("LOADING", "READY", "FAILED")

# Characters of a sentence from elsewhere, such as a runtime's error: one packet holds it whatever it says.
_MAX_TEXT_CHARS = 2000
# Digests in one message.
MAX_DIGESTS = 500


def shorten(text: str) -> str:
    """A sentence that fits into a message."""
    return text if len(text) <= _MAX_TEXT_CHARS else text[: _MAX_TEXT_CHARS - 1] + "…"


class _Message(msgspec.Struct, array_like=True, tag=True):
    """Base of all: an array that starts with the type's name."""


# Frontend to worker.


class UseSlots(_Message):
    """(fd) The memory file of this frontend's slots, and their shape; first on every data connection."""

    count: int
    height: int
    width: int
    classes: int


class Run(_Message):
    """Classify the image in `slot`, by `deadline`; the lowest `sort_key` first."""

    job: int
    slot: int
    sort_key: float
    deadline: float
    solo: bool  # nothing else is decoding or waiting: the whole device may serve this image
    suspect: bool  # a worker died on it: it goes first, and nothing else runs meanwhile


class Cancel(_Message):
    """The caller of this job has gone."""

    job: int


# Worker to frontend.


class Done(_Message):
    """The logits are in the slot."""

    job: int
    batch: int
    started: float
    ended: float
    first: bool  # of its batch: runs are counted by these
    solo: bool  # it ran on the session that has all threads
    new_shape: bool  # the device had not run this size of batch before


class Dropped(_Message):
    """The job was cancelled, or it was too late to start it."""

    job: int


class Failed(_Message):
    """The runtime refused this image; others of its batch were run without it."""

    job: int
    error: str


# Supervisor to worker.


class Load(_Message):
    """Load this version; first on every worker's control connection.

    `files`: name to SHA-256. `lanes`, `max_batch`, `solo_threads`: the operator's; 0 leaves them to the worker.
    """

    key: ModelKey
    directory: str
    files: dict[str, str]
    device: str
    precision: str
    height: int
    width: int
    tolerance: float
    min_agreement: float
    lanes: int = 0
    max_batch: int = 0
    solo_threads: int = 0


class AddFrontend(_Message):
    """(fd) The worker's end of a data connection to one more frontend."""


class Ping(_Message):
    """Answer with a Pong. Sent to frontends too."""


# Worker to supervisor.


class Loaded(_Message):
    """The version is ready: where it runs, how, and what runs take (batch size to seconds, and a solo run's)."""

    device: str
    provider: str
    lanes: int
    max_batch: int
    solo_threads: int
    fixed_sizes: bool
    credits: int
    run_seconds: dict[int, float]
    solo_seconds: float


class Refused(_Message):
    """The version cannot be loaded, now or ever."""

    reason: str


class FirstAnswer(_Message):
    """The worker has answered an image: it does not end on every one."""


class Pong(_Message):
    """Alive. `stalled`: a run takes so much longer than predicted that it must be hung. Sent by frontends too."""

    stalled: bool = False


# Supervisor to frontend.


class Configure(_Message):
    """Settings of a frontend; first on every frontend's control connection.

    `number` counts frontends from 1; `shared`: other frontends listen on the same port; seconds where they are times.
    `max_connection_age`, and its grace: 0 is no limit.
    `latency_buckets`: upper bounds, ascending.
    """

    number: int
    host: str
    shared: bool
    default_deadline: float
    wait_share: float
    queue_order: Literal["deadline", "arrival"]
    drain_seconds: float
    max_connection_age: float
    max_connection_age_grace: float
    latency_buckets: tuple[float, ...]
    log_level: str
    log_format: str


class AddVersion(_Message):
    """A version exists. Its manifest is read from `directory`, and must have this SHA-256."""

    key: ModelKey
    directory: str
    manifest_sha256: str


class AddBrokenVersion(_Message):
    """A version exists whose manifest cannot be used."""

    key: ModelKey
    reason: str


class RemoveVersion(_Message):
    """A version is gone: its memory and its series go too."""

    key: ModelKey


class AttachWorker(_Message):
    """(fd) The frontend's end of a data connection to a worker that has loaded this version."""

    key: ModelKey
    worker: int  # process id
    loaded: Loaded


class SetState(_Message):
    """A version is not ready, and why."""

    key: ModelKey
    state: State
    reason: str


class Block(_Message):
    """Refuse the images with these SHA-256, which have ended workers elsewhere; at most MAX_DIGESTS."""

    key: ModelKey
    digests: list[bytes]


class Listen(_Message):
    """Take the gRPC port, 0 for a free one, and answer calls."""

    port: int


class GiveSamples(_Message):
    """Answer with Samples."""


class Leave(_Message):
    """Say NOT_SERVING, and go on answering calls."""


class Drain(_Message):
    """Refuse new calls, finish those accepted, then say Drained."""


# Frontend to supervisor.


class Listening(_Message):
    """Calls are answered on this port."""

    port: int


class CannotListen(_Message):
    """The port cannot be taken."""

    reason: str


class Attached(_Message):
    """Calls for the version are answered by this worker, a process id, from now on."""

    key: ModelKey
    worker: int


class RejectedVersion(_Message):
    """The frontend cannot serve the version: its manifest is not the one that was announced."""

    key: ModelKey
    reason: str


class Blocked(_Message):
    """An image, by its SHA-256, has ended two workers."""

    key: ModelKey
    digest: bytes


class Samples(_Message):
    """Part of what the metrics stand at: name, labels and value of each sample. `last` ends the answer."""

    values: list[tuple[str, dict[str, str], float]]
    last: bool


class Drained(_Message):
    """Every accepted call is answered."""


Message = (
    UseSlots
    | Run
    | Cancel
    | Done
    | Dropped
    | Failed
    | Load
    | AddFrontend
    | Ping
    | Loaded
    | Refused
    | FirstAnswer
    | Pong
    | Configure
    | AddVersion
    | AddBrokenVersion
    | RemoveVersion
    | AttachWorker
    | SetState
    | Block
    | Listen
    | GiveSamples
    | Leave
    | Drain
    | Listening
    | CannotListen
    | Attached
    | RejectedVersion
    | Blocked
    | Samples
    | Drained
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message as the bytes of one packet."""
    return _encoder.encode(message)


def decode(packet: bytes) -> Message:
    """The message in one packet.

    Raises:
        ValueError: the packet is none of ours.
    """
    return _decoder.decode(packet)
