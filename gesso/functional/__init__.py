"""Pure tensor functions: torch in, torch out, no files, no state, no other part of gesso."""
