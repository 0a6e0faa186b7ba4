/** What somebody is about to sign, in words, before the wallet is asked; and what became of it. */

import { Alert, Button, Group, Modal, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { isDeclined, sentenceOf } from "../failures";
import { useWords } from "../i18n";

export type Step = {
  /** What it does, as a sentence. */
  title: string;
  details?: string[];
  /** Whether it is a transaction, with a fee, or a signature alone. */
  fee: boolean;
  /** Text of the button; the wallet's signature if it is not told. */
  button?: string;
  /** Does it. Returns the steps that still have to be taken, if they are others than those told before. */
  act: (say: (text: string) => void) => Promise<Step[] | undefined>;
};

/** Something failed after part of it was done: what is left to take. */
export class Interrupted extends Error {
  constructor(
    override readonly cause: unknown,
    readonly left: Step[],
  ) {
    super("interrupted");
  }
}

export type Intent = {
  title: string;
  /** What is so in the end. */
  done: string;
  steps: Step[];
};

/** A dialog for something to be signed; null for nothing. */
export function Steps({ intent, close }: { intent: Intent | null; close: () => void }) {
  const { t } = useWords();
  return (
    <Modal
      opened={intent !== null}
      onClose={close}
      title={intent?.title}
      centered
      closeButtonProps={{ "aria-label": t.app.close }}
    >
      {intent && <Walk intent={intent} close={close} />}
    </Modal>
  );
}

function Walk({ intent, close }: { intent: Intent; close: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [steps, setSteps] = useState(intent.steps);
  const [busy, setBusy] = useState<string | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const gone = useRef(false);
  useEffect(() => {
    gone.current = false;
    return () => {
      gone.current = true;
    };
  }, []);
  const [step, ...rest] = steps;
  if (!step) return null;

  const go = async () => {
    // A signature that comes after the dialog was closed is handed to nobody.
    const say = (text: string) => {
      if (gone.current) throw new Error("closed");
      setBusy(text);
    };
    setProblem(null);
    setBusy(t.flow.signing);
    try {
      const next = (await step.act(say)) ?? rest;
      setSteps(next);
      if (next.length) return;
      await queries.invalidateQueries();
      notifications.show({ title: t.flow.done, message: intent.done, color: "leaf" });
      if (!gone.current) close();
    } catch (caught) {
      if (caught instanceof Interrupted) setSteps(caught.left);
      setProblem(caught instanceof Interrupted ? caught.cause : caught);
    } finally {
      setBusy(null);
    }
  };

  return (
    <Stack gap="sm">
      <Text fw={600} size="lg">
        {step.title}
      </Text>
      {step.details?.map((line) => (
        <Text key={line} size="sm">
          {line}
        </Text>
      ))}
      <Text size="sm" c="var(--quiet)">
        {step.fee ? t.flow.fee : t.flow.noFee} {t.flow.checked}
      </Text>
      {problem !== null && <Problem problem={problem} />}
      <Group justify="space-between" gap="xs">
        <Button variant="default" onClick={close}>
          {t.app.cancel}
        </Button>
        <Button onClick={() => void go()} loading={busy !== null} data-autofocus>
          {step.button ?? t.flow.sign}
        </Button>
      </Group>
      <div role="status" className="quiet">
        {busy}
      </div>
    </Stack>
  );
}

/** A failure in words. */
export function Problem({ problem, children }: { problem: unknown; children?: ReactNode }) {
  const { t } = useWords();
  return (
    <Alert color={isDeclined(problem) ? "yellow" : "red"} variant="light" role="alert">
      {sentenceOf(problem, t)}
      {children}
    </Alert>
  );
}
