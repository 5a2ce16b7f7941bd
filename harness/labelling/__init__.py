"""Where people label a judge's verdicts: a page on this machine, or a spreadsheet."""
