/** Small things that every page is made of. */

import { Alert, Anchor, Button, Skeleton } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { sentenceOf } from "../failures";
import { useWords } from "../i18n";
import { short } from "../units";

export function Card(props: { title?: string; how?: string; right?: ReactNode; children: ReactNode; label?: string }) {
  return (
    <section className="card" aria-label={props.title ?? props.label}>
      {props.title && (
        <div className="top" style={{ marginBottom: "0.75rem", alignItems: "flex-start", gap: "0.5rem" }}>
          <div style={{ flex: "1 1 12rem" }}>
            <h2 className="title">{props.title}</h2>
            {props.how && <p className="quiet">{props.how}</p>}
          </div>
          {props.right}
        </div>
      )}
      {props.children}
    </section>
  );
}

/** A figure with its name, the figure first in size and second in reading. */
export function Figure(props: { name: string; value: ReactNode; unit?: string; how?: string; tone?: "good" | "bad" }) {
  return (
    <div>
      <div className="label">{props.name}</div>
      <div className={`figure ${props.tone ?? ""}`}>
        {props.value} {props.unit && <small>{props.unit}</small>}
      </div>
      {props.how && <p className="quiet">{props.how}</p>}
    </div>
  );
}

export function Empty({ title, how, children }: { title: string; how?: string; children?: ReactNode }) {
  return (
    <div style={{ padding: "1.5rem 0", textAlign: "center" }}>
      <div style={{ fontWeight: 550 }}>{title}</div>
      {how && <p className="quiet">{how}</p>}
      {children && <div style={{ marginTop: "0.75rem" }}>{children}</div>}
    </div>
  );
}

/** What a query brought; a place for it while it is on its way, and why it did not come. */
export function Loaded<T>(props: { query: UseQueryResult<T>; height?: number; children: (data: T) => ReactNode }) {
  const { t } = useWords();
  const { data, error, refetch } = props.query;
  if (data !== undefined) return props.children(data);
  if (error)
    return (
      <Alert color="red" variant="light" title={t.app.failed} role="alert">
        <p style={{ margin: "0 0 0.5rem" }}>{sentenceOf(error, t)}</p>
        <Button size="xs" variant="default" onClick={() => void refetch()}>
          {t.app.retry}
        </Button>
      </Alert>
    );
  return <Skeleton height={props.height ?? 80} aria-label={t.app.loading} />;
}

/** An address or hash, short to the eye and whole to who asks. */
export function Hex({ value, href }: { value: string; href?: string }) {
  const told = (
    <span className="mono" title={value}>
      {short(value)}
    </span>
  );
  return href ? (
    <Anchor href={href} inherit>
      {told}
    </Anchor>
  ) : (
    told
  );
}

/** A choice that fills a field in. */
export function Quick(props: { onClick: () => void; children: ReactNode; pressed?: boolean }) {
  return (
    <Button
      size="compact-xs"
      radius="xl"
      variant={props.pressed ? "filled" : "default"}
      onClick={props.onClick}
      aria-pressed={props.pressed}
    >
      {props.children}
    </Button>
  );
}
