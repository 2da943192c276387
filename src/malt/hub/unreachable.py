"""What is raised where the hub cannot be reached: errors of whichever HTTP client its library uses, and of the system."""

from huggingface_hub.errors import HfHubHTTPError

UNREACHABLE: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError)


def reason(error: Exception) -> str:
    """The first sentence of an error, short enough to stand in one."""
    return str(error).strip().split("\n")[0].split(". ")[0][:160]
