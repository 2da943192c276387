"""Whether what came from a terminal or a request is text: both can hand over halves of characters."""

from malt.errors import UsageError


def check_text(text: str) -> None:
    """Refuse a prompt that cannot be written in UTF-8.

    Raises:
        UsageError: it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text.encode(errors="backslashreplace").decode()
        raise UsageError(f"the prompt '{shown}' is not UTF-8; write it in UTF-8, as in a file for --prompts") from error
