/** Asks for one transaction, in words, and has it signed: for everything that takes a single step. */

import { type ReactNode, useCallback, useState } from "react";
import { type Intent, Steps } from "./Steps";

export type Ask = (wanted: {
  title: string;
  what: string;
  details?: string[];
  done: string;
  act: () => Promise<void>;
}) => void;

/** A function that asks, and the dialog it asks with, to be put somewhere in the page. */
export function useAsk(): [Ask, ReactNode] {
  const [intent, setIntent] = useState<Intent | null>(null);
  const ask: Ask = useCallback(({ title, what, details = [], done, act }) => {
    const once = async () => {
      await act();
      return undefined;
    };
    setIntent({ title, done, steps: [{ title: what, details, fee: true, act: once }] });
  }, []);
  return [ask, <Steps key="asked" intent={intent} close={() => setIntent(null)} />];
}
