/** How long the open epoch still takes orders. */

import { useWords } from "../i18n";
import { untilEnd, useMarket, useNews, useTicking } from "../market";
import { duration } from "../units";

export function Countdown() {
  const { t } = useWords();
  const { deployment } = useMarket();
  const news = useNews();
  const now = useTicking(250);
  if (!news) return null;
  const { seconds, share } = untilEnd(news, now, deployment);
  return (
    <div style={{ minWidth: "9rem" }}>
      <div className="label">{t.market.closes}</div>
      <div className="figure" role="timer" aria-live="off">
        {seconds > 0 ? duration(seconds) : t.market.closing}
      </div>
      <div className="bar" aria-hidden="true">
        <div style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}
