"""What commands are told: groups of fields, and what each option means. Nothing here imports torch."""

from gesso.options._command import (
    Command,
    as_function,
    check_options,
    command_of,
    options,
    plain_options,
    rename_former,
)
from gesso.options._fields import Option, options_of

__all__ = ["Command", "Option", "as_function", "check_options", "command_of", "options", "rename_former"]
__all__ += ["options_of", "plain_options"]
