/** The language of the page. */

import { createContext, useContext } from "react";
import type { Language } from "../units";
import { en, type Messages } from "./en";
import { th } from "./th";

const MESSAGES: Record<Language, Messages> = { en, th };

export const LanguageContext = createContext<{ language: Language; toggle: () => void }>({
  language: "en",
  toggle: () => undefined,
});

/** What the page says, and in which language. */
export function useWords(): { t: Messages; language: Language; toggle: () => void } {
  const { language, toggle } = useContext(LanguageContext);
  return { t: MESSAGES[language], language, toggle };
}

/** The language a visitor chose, or else the browser's. */
export function firstLanguage(stored: string | null, browser: readonly string[]): Language {
  if (stored === "en" || stored === "th") return stored;
  return browser[0]?.toLowerCase().startsWith("th") ? "th" : "en";
}

export { en, th };
