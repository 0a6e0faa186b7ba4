/**
 * Wh, ticks and money as people read them. Everything is a whole number until the moment it is shown, and only the
 * functions here round: half away from zero.
 */

import { market } from "./generated/market";

export type Language = "en" | "th";

const LOCALE: Record<Language, string> = { en: "en-GB", th: "th-TH" };
const ZONE = "Asia/Bangkok";
const THB_WEI = 10n ** 18n;
const UTHB = 1_000_000n;

/** Micro-Wh in a Wh. */
export const UWH_PER_WH = BigInt(market.microWhPerWh);

/** Wei of GRID, which has 18 decimals, for a Wh. */
export const WEI_PER_WH = 10n ** 15n;

/** A quotient as decimal text with so many places, rounded half away from zero. */
export function decimal(numerator: bigint, denominator: bigint, places: number): string {
  const scale = 10n ** BigInt(places);
  const negative = numerator < 0n;
  const magnitude = negative ? -numerator : numerator;
  const scaled = (magnitude * scale * 2n + denominator) / (denominator * 2n);
  const digits = scaled.toString().padStart(places + 1, "0");
  const text = places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits;
  return negative && scaled !== 0n ? `-${text}` : text;
}

/** Decimal text with the digits grouped as the language does it. */
function grouped(text: string, language: Language, sign = false): string {
  const places = text.includes(".") ? text.length - text.indexOf(".") - 1 : 0;
  return new Intl.NumberFormat(LOCALE[language], {
    minimumFractionDigits: places,
    maximumFractionDigits: places,
    signDisplay: sign ? "exceptZero" : "auto",
  }).format(text as Intl.StringNumericLiteral);
}

/** Wh as kWh: three places below ten kWh, two below a hundred, one above. */
export function kwh(wh: bigint | number, language: Language): string {
  const amount = BigInt(wh);
  const size = amount < 0n ? -amount : amount;
  return grouped(decimal(amount, 1_000n, size < 10_000n ? 3 : size < 100_000n ? 2 : 1), language);
}

/** Micro-Wh as kWh. */
export function kwhOfUwh(uwh: bigint, language: Language): string {
  return kwh(uwh / UWH_PER_WH, language);
}

/** Wei of baht as baht with two places. */
export function baht(wei: bigint, language: Language, sign = false): string {
  return grouped(decimal(wei, THB_WEI, 2), language, sign);
}

/** Micro-THB as baht with two places. */
export function bahtOfUthb(uthb: bigint | number, language: Language, sign = false): string {
  return grouped(decimal(BigInt(uthb), UTHB, 2), language, sign);
}

/** A price in half ticks per kWh, in baht: two places, or three where there is half a satang. */
export function price(price2: number, tickWei: bigint, language: Language): string {
  const wei = (BigInt(price2) * tickWei) / 2n;
  return grouped(decimal(wei, THB_WEI, wei % 10n ** 16n === 0n ? 2 : 3), language);
}

/** A share as percent with one place; a dash without anything to have a share of. */
export function percent(part: bigint, whole: bigint, language: Language): string {
  return whole > 0n ? `${grouped(decimal(part * 100n, whole, 1), language)} %` : "–";
}

/** An integer, grouped. */
export function count(value: bigint | number, language: Language): string {
  return new Intl.NumberFormat(LOCALE[language]).format(value);
}

/** Bangkok's clock at a Unix time, such as 14:15. */
export function clock(timestamp: number, language: Language): string {
  return new Intl.DateTimeFormat(LOCALE[language], { hour: "2-digit", minute: "2-digit", timeZone: ZONE }).format(
    timestamp * 1000,
  );
}

/** Bangkok's clock to the second, such as 14:15:09. */
export function seconds(timestamp: number, language: Language): string {
  return new Intl.DateTimeFormat(LOCALE[language], { timeStyle: "medium", timeZone: ZONE }).format(timestamp * 1000);
}

/** Bangkok's date at a Unix time, such as 14 Mar 2026. */
export function day(timestamp: number, language: Language): string {
  return new Intl.DateTimeFormat(LOCALE[language], { dateStyle: "medium", timeZone: ZONE }).format(timestamp * 1000);
}

/** Bangkok's clock and date, such as 14:15, 14 Mar 2026. */
export function moment(timestamp: number, language: Language): string {
  return `${clock(timestamp, language)}, ${day(timestamp, language)}`;
}

/** Bangkok's month at a Unix time as the API names it, such as 2026-03. */
export function monthOf(timestamp: number): string {
  return new Date((timestamp + 7 * 3600) * 1000).toISOString().slice(0, 7);
}

/** The Unix time of the midnight in Bangkok before a Unix time. */
export function midnightBefore(timestamp: number): number {
  return timestamp - ((timestamp + 7 * 3600) % 86_400);
}

/**
 * What somebody typed, as a whole number of a smaller unit: "1.5" kWh with `places` 3 is 1500 Wh. Null if it is no
 * number, or finer than the unit. Commas stand between thousands only: "1,5" is refused.
 */
export function parseDecimal(text: string, places: number): bigint | null {
  const match = /^(\d{1,12}|\d{1,3}(?:,\d{3}){1,3})(?:\.(\d*))?$/.exec(text.trim());
  if (!match) return null;
  const fraction = (match[2] ?? "").replace(/0+$/, "");
  if (fraction.length > places) return null;
  return (
    BigInt((match[1] ?? "0").replaceAll(",", "")) * 10n ** BigInt(places) + BigInt(fraction.padEnd(places, "0") || "0")
  );
}

/** Whole seconds as 4:05, or 1:04:05. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, i) => (i ? String(part).padStart(2, "0") : String(part))).join(":");
}

/** An address or hash cut short in its middle. */
export function short(hex: string): string {
  return `${hex.slice(0, 6)}…${hex.slice(-4)}`;
}
