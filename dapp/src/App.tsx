/** The page's frame: where one is, in which language and colours, with which wallet, and whether the news are fresh. */

import { ActionIcon, Alert, Button, Skeleton, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { Component, lazy, type ReactNode, Suspense } from "react";
import { Link, Redirect, Route, Router, Switch } from "wouter";
import { useHashLocation } from "wouter/use-hash-location";
import { Icon, type IconName } from "./components/icons";
import { UnderwayList } from "./components/Underway";
import { WalletButton, WalletNotice } from "./components/Wallet";
import { FAR_BEHIND, useStatus } from "./data";
import { useWords } from "./i18n";
import { STALE_MS, useMarket, useNews, useTicking } from "./market";
import { Market } from "./pages/Market";
import { count, duration } from "./units";

// The first page comes at once, the others when they are asked for.
const Energy = lazy(() => import("./pages/Energy"));
const Community = lazy(() => import("./pages/Community"));
const Explorer = lazy(() => import("./pages/Explorer"));
const Admin = lazy(() => import("./pages/Admin"));

const PAGES = ["market", "energy", "community", "explorer", "admin"] as const satisfies readonly IconName[];

export function App() {
  const { t } = useWords();
  const [here] = useHashLocation();
  return (
    <Router hook={useHashLocation}>
      <a
        className="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("content")?.focus();
        }}
      >
        {t.app.skip}
      </a>
      <header className="head">
        <Link href="/market" className="brand" aria-label="Busbar">
          <img src="./favicon.svg" alt="" width={26} height={26} />
          <span className="wide">Busbar</span>
        </Link>
        <Navigation />
        <span className="grow" />
        <Freshness />
        <Looks />
        <WalletButton />
      </header>
      <main className="page" id="content" tabIndex={-1}>
        <Notices />
        <WalletNotice quiet={here.startsWith("/admin")} />
        <UnderwayList />
        <Mended key={here.split("/")[1]}>
          <Suspense fallback={<Skeleton height={320} aria-label={t.app.loading} />}>
            <Switch>
              <Route path="/market" component={Market} />
              <Route path="/energy" component={Energy} />
              <Route path="/community" component={Community} />
              <Route path="/explorer/:what?/:which?" component={Explorer} />
              <Route path="/admin" component={Admin} />
              <Redirect to="/market" />
            </Switch>
          </Suspense>
        </Mended>
      </main>
    </Router>
  );
}

function Navigation() {
  const { t } = useWords();
  const [here] = useHashLocation();
  return (
    <nav className="nav" aria-label={t.app.nav}>
      {PAGES.map((name) => (
        <Link key={name} href={`/${name}`} aria-current={here.startsWith(`/${name}`) ? "page" : undefined}>
          <Icon name={name} />
          {t.app[name]}
        </Link>
      ))}
    </nav>
  );
}

/** A dot that says whether news come. */
function Freshness() {
  const { t, language } = useWords();
  const news = useNews();
  const now = useTicking(1_000);
  const state = news === null ? "waiting" : now - news.sinceMs > STALE_MS ? "stale" : "live";
  const told = state === "waiting" ? t.live.waiting : t.live.block(count(news?.number ?? 0, language));
  return (
    <span style={{ display: "flex", alignItems: "center", gap: "0.4rem" }} title={told}>
      <span className={`dot ${state}`} role="img" aria-label={told} />
      <span className="quiet wide" aria-hidden="true">
        {told}
      </span>
    </span>
  );
}

function Looks() {
  const { t, toggle, language } = useWords();
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  const say = dark ? t.app.light : t.app.dark;
  return (
    <>
      <Button size="compact-sm" variant="subtle" color="gray" onClick={toggle} lang={language === "en" ? "th" : "en"}>
        <span className="wide">{t.app.language}</span>
        <span className="narrow">{language === "en" ? "ไทย" : "EN"}</span>
      </Button>
      <ActionIcon
        variant="subtle"
        color="gray"
        aria-label={say}
        title={say}
        onClick={() => setColorScheme(dark ? "light" : "dark")}
      >
        <Icon name={dark ? "sun" : "moon"} />
      </ActionIcon>
    </>
  );
}

/** What a visitor must know of the figures: that they are old, or few, or in fast motion. */
function Notices() {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const news = useNews();
  const now = useTicking(1_000);
  const behind = useStatus().data?.behind_blocks ?? 0;
  // Without any, this page has had none since it was opened.
  const ageMs = now - (news?.sinceMs ?? 0);
  return (
    <>
      {ageMs > STALE_MS && (
        <Alert color="yellow" variant="light" mb="md" role="status">
          {t.live.stale(duration(Math.floor(ageMs / 1000)))}
        </Alert>
      )}
      {ageMs <= STALE_MS && behind > FAR_BEHIND && (
        <Alert color="yellow" variant="light" mb="md" role="status">
          {t.live.behind(count(behind, language))}
        </Alert>
      )}
      {deployment.api === null && (
        <Alert color="gray" variant="light" mb="md">
          {t.app.reduced}
        </Alert>
      )}
      {deployment.pace !== 1 && <p className="quiet fast">{t.live.fast(deployment.pace)}</p>}
    </>
  );
}

/** A page that breaks says so instead of vanishing. Another page is another chance. */
class Mended extends Component<{ children: ReactNode }, { problem: unknown }> {
  override state: { problem: unknown } = { problem: null };

  static getDerivedStateFromError(problem: unknown) {
    return { problem };
  }

  override render() {
    return this.state.problem === null ? this.props.children : <Broken problem={this.state.problem} />;
  }
}

/** A script that did not come is asked for again only by a page that is loaded again. */
function Broken({ problem }: { problem: unknown }) {
  const { t } = useWords();
  const missing = problem instanceof TypeError && /module|import/i.test(problem.message);
  return (
    <Alert color="red" variant="light" role="alert">
      <p style={{ marginTop: 0 }}>{missing ? t.app.notLoaded : t.app.crashed}</p>
      <Button size="xs" variant="default" onClick={() => window.location.reload()}>
        {t.app.reload}
      </Button>
    </Alert>
  );
}
