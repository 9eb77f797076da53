"""What a person sees: terminal lines, sample sheets, figures, the comparison page."""
