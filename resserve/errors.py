"""The errors that people see: each message is a sentence that says what is wrong and what to do.

ResServeError               something the user can mend
└── ClassifyError           the service did not answer a call, or did not classify an image
├── UnavailableError    no service there, or it is not ready: later may be better
├── RejectedError       the service is too busy to answer in time; has `retry_after`
├── DeadlineError       no answer before the deadline
├── NotFoundError       the model or version is not served
└── InvalidInputError   the image or the request is at fault: the same one will fail again
    └── InputTypeError  what was given is of no type that holds an image; a TypeError, too
"""


class ResServeError(Exception):
    """Something the user can mend. The message is one complete sentence or two, ready to be printed as it is."""


class ClassifyError(ResServeError):
    """A call that failed, or the failure of one image: as itself when the service met an internal error."""


class UnavailableError(ClassifyError):
    """Nothing serves at the target, or the service is starting or draining."""


class RejectedError(ClassifyError):
    """Refused at once, because the deadline could not have been met.

    Attributes:
        retry_after: seconds after which the service expects to have room; None when it does not know.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(ClassifyError):
    """The deadline passed before the answer came."""


class NotFoundError(ClassifyError):
    """No such model or version; the message names what there is."""


class InvalidInputError(ClassifyError):
    """The image cannot be read, is too large, or the request is malformed."""


class InputTypeError(InvalidInputError, TypeError):
    """An object that is no image, or an array of another shape or type; the message says what is accepted."""
