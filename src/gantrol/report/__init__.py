"""Pages that show what happened: one HTML file each, which opens from the disk and needs no network.

gantrol.report.write_report("runs/first")        writes runs/first/report.html

`run_page` puts the page of a run together, `comparison` that of several models. `run_record` reads the folder;
`samples_section`, `metrics_section`, `curves` and `config_section` make the parts; `embedded_pictures` brings pictures
within a limit; `markup` escapes, and `page` adds the style and the script of `assets`.
"""

from gantrol.report.comparison import comparison_page
from gantrol.report.run_page import report_page, write_report

__all__ = ["comparison_page", "report_page", "write_report"]
