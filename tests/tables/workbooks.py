"""A workbook of Excel of one sheet, written by hand."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path


def workbook(path: Path, cells: Sequence[Sequence[str | float]]) -> None:
    """Rows of three cells at most, texts inline."""
    number, text = '<c r="{}{}"><v>{}</v></c>', '<c r="{}{}" t="inlineStr"><is><t>{}</t></is></c>'
    rows = ""
    for r, row in enumerate(cells, 1):
        parts = [(text if isinstance(v, str) else number).format(c, r, v) for c, v in zip("ABC", row)]
        rows += f'<row r="{r}">{"".join(parts)}</row>'
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    with zipfile.ZipFile(path, "w") as file:
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
        file.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        )
        relation = '<Relationships xmlns="{}/relationships"><Relationship Id="r" Type="{}/{}" Target="{}"/>'
        relation += "</Relationships>"
        file.writestr("_rels/.rels", relation.format(package, office, "officeDocument", "xl/workbook.xml"))
        file.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="s" sheetId="1" r:id="r"/>'
            "</sheets></workbook>",
        )
        file.writestr(
            "xl/_rels/workbook.xml.rels",
            relation.format(package, office, "worksheet", "worksheets/sheet1.xml"),
        )
        file.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
        )
