/** What somebody is about to sign, in words, before the wallet is asked; and what became of it. */

import { Alert, Button, Group, Modal, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { useAccount } from "../data";
import { Closed, isDeclined, sentenceOf, Unheard } from "../failures";
import { useWords } from "../i18n";
import { useUnderway } from "../market";
import { toast } from "./toast";

export type Step = {
  /** What it does, as a sentence. */
  title: string;
  details?: string[];
  /** What the wallet shows of it, in the message's own words; left out for what it shows nothing of. */
  shows?: string;
  /** Whether it is a transaction, with a fee, or a signature alone. */
  fee: boolean;
  /** Text of the button; the wallet's signature if it is not told. */
  button?: string;
  /**
   * Does it. Returns the steps that still have to be taken, if they are others than those told before. What it says it
   * does is out of one's hands; `unlessClosed` throws if the dialog was closed before that.
   */
  act: (say: (text: string) => void, unlessClosed: () => void) => Promise<Step[] | undefined>;
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

/** `before`: what was under way when it began, so that what it sends itself can be told from that. */
type Busy = { text: string; before: ReadonlySet<string> };

function Walk({ intent, close }: { intent: Intent; close: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [steps, setSteps] = useState(intent.steps);
  const [busy, setBusy] = useState<Busy | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  // Something was handed over: closing the dialog does not stop it, whatever its answer.
  const [out, setOut] = useState(false);
  const account = useAccount();
  const list = useUnderway(account);
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
    const before = new Set(list.map(({ id }) => id));
    const say = (text: string) => {
      setOut(true);
      setBusy({ text, before });
    };
    // A signature that comes after the dialog was closed is handed to nobody.
    const unlessClosed = () => {
      if (gone.current) throw new Closed();
    };
    setProblem(null);
    setBusy({ text: t.flow.signing, before });
    try {
      const next = (await step.act(say, unlessClosed)) ?? rest;
      setSteps(next);
      if (next[0]) {
        if (gone.current) toast(t, step.title, next[0].details?.[0] ?? next[0].title, false);
        return;
      }
      await queries.invalidateQueries();
      toast(t, t.flow.done, intent.done);
      if (!gone.current) close();
    } catch (caught) {
      const why = caught instanceof Interrupted ? caught.cause : caught;
      if (caught instanceof Interrupted) setSteps(caught.left);
      setProblem(why);
      if (gone.current && !(why instanceof Closed)) toast(t, step.title, sentenceOf(why, t), false);
    } finally {
      setBusy(null);
    }
  };

  const sent = list.some(
    ({ id, what }) => what.kind === "transaction" && what.hash !== null && busy && !busy.before.has(id),
  );
  const doing = out || sent ? t.flow.outOfHand : step.fee ? t.flow.walletAsks : t.flow.notHanded;
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
      {!(problem instanceof Unheard) && (
        <Text size="sm" c="var(--quiet)">
          {step.fee ? t.flow.fee : t.flow.noFee} {step.shows && t.flow.checked(step.shows)}
        </Text>
      )}
      {problem !== null && <Problem problem={problem} />}
      <div role="status">
        {busy && (
          <Text size="sm" c="var(--quiet)">
            {sent ? t.flow.sending : busy.text}
            <br />
            {doing}
          </Text>
        )}
      </div>
      <Group justify="space-between" gap="xs">
        <Button variant="default" onClick={close}>
          {out || (busy && step.fee) ? t.app.close : t.app.cancel}
        </Button>
        <Button onClick={() => void go()} loading={busy !== null} data-autofocus>
          {problem instanceof Unheard ? t.underway.again : (step.button ?? t.flow.sign)}
        </Button>
      </Group>
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
