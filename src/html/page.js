
"use strict";
{
  const table = document.getElementById("rows");
  const find = document.getElementById("find");
  if (table && find) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map(row => [row, row.textContent.toLowerCase()]);
    const shown = document.getElementById("found");
    find.parentElement.hidden = false;
    find.addEventListener("input", () => {
      const words = find.value.toLowerCase().split(/\s+/);
      let count = 0;
      for (const [row, text] of rows) {
        row.hidden = !words.every(word => text.includes(word));
        count += !row.hidden;
      }
      shown.textContent = count.toLocaleString("en") + " shown";
    });
    const order = new Intl.Collator("en", { numeric: true });
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = document.createElement("button");
      button.textContent = cell.textContent;
      cell.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = cell.ariaSort === "ascending";
        for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
        cell.ariaSort = down ? "descending" : "ascending";
        const sorted = rows.map(([row]) => [row.cells[column].textContent, row]);
        sorted.sort(([a], [b]) => down ? order.compare(b, a) : order.compare(a, b));
        body.append(...sorted.map(([, row]) => row));
      });
    });
  }
}
