/** A table of rows that are alike. */

import type { ReactNode } from "react";
import { Scroll } from "./bits";

/** `figure`: set right, digits below digits. `when`: may take two lines on a narrow screen. */
export type Column<Row> = { title: string; of: (row: Row) => ReactNode; figure?: boolean; when?: boolean };

export function Table<Row>(props: {
  columns: (Column<Row> | false)[];
  rows: readonly Row[];
  idOf: (row: Row) => string | number;
  testId?: string;
}) {
  const columns = props.columns.filter((column) => column !== false);
  return (
    <Scroll>
      <table className="rows" data-testid={props.testId}>
        <thead>
          <tr>
            {columns.map(({ title, figure }) => (
              <th key={title} scope="col" className={figure ? "n" : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr key={props.idOf(row)}>
              {columns.map(({ title, of, figure, when }) => (
                <td key={title} className={figure ? "n" : when ? "when" : undefined}>
                  {of(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
