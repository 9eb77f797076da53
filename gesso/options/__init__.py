"""What commands are told: groups of fields, and what each option means. Nothing here imports torch."""

from gesso.options._command import (
    Command,
    as_function,
    began,
    check_options,
    command_of,
    options,
    plain_options,
    rename_former,
)
from gesso.options._fields import OF_THIS_CALL, Option, options_of

__all__ = ["OF_THIS_CALL", "Command", "Option", "as_function", "began", "check_options", "command_of", "options"]
__all__ += ["options_of", "plain_options", "rename_former"]
