/** A table of rows that are alike; where it has no room, each row is a card of names and values. */

import { type ReactNode, useEffect, useLayoutEffect, useRef } from "react";

/**
 * `figure`: set right, digits below digits. `when`: may take two lines on a narrow screen. `long`: a text of many lines.
 * `aside`: shown to the eye beside what other columns say, and left out of a card.
 */
export type Column<Row> = {
  title: string;
  of: (row: Row) => ReactNode;
  as?: "figure" | "when" | "long" | "aside";
};

/** Makes cards of the rows of a table that is wider than its box, whatever language or figures made it so. */
function fit(box: HTMLElement) {
  const table = box.firstElementChild;
  table?.classList.remove("cards");
  table?.classList.toggle("cards", box.scrollWidth > box.clientWidth);
}

const classOf = (as?: string) => (as === "figure" ? "n" : as);

// Roles are written out: a table that is shown as cards has lost its own in some browsers.
export function Table<Row>(props: {
  columns: (Column<Row> | false)[];
  rows: readonly Row[];
  idOf: (row: Row) => string | number;
  testId?: string;
}) {
  const columns = props.columns.filter((column) => column !== false);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (box.current) fit(box.current);
  });
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let width = element.clientWidth;
    const observer = new ResizeObserver(() => {
      // Cards change the box's height, which is no reason to look again.
      if (element.clientWidth === width) return;
      width = element.clientWidth;
      requestAnimationFrame(() => fit(element));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={box}>
      <table className="rows" role="table" data-testid={props.testId}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map(({ title, as }) => (
              <th
                key={title}
                scope="col"
                role="columnheader"
                className={classOf(as)}
                aria-hidden={as === "aside" || undefined}
              >
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {props.rows.map((row) => (
            <tr key={props.idOf(row)} role="row">
              {columns.map(({ title, of, as }) => (
                <td
                  key={title}
                  role="cell"
                  className={classOf(as)}
                  data-title={title}
                  aria-hidden={as === "aside" || undefined}
                >
                  {of(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
