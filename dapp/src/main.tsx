import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { WagmiProvider } from "wagmi";
import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./styles.css";
import { App } from "./App";
import { apiAt } from "./api";
import { readerOf, walletsOf } from "./chain";
import { tellingOf } from "./data";
import { type Deployment, loadDeployment } from "./deployment";
import { Underway } from "./flows/underway";
import { en, firstLanguage, LanguageContext } from "./i18n";
import { type Market, MarketContext, Newsroom } from "./market";
import { theme } from "./theme";
import type { Language } from "./units";

const LANGUAGE_KEY = "busbar-language";

function marketOf(deployment: Deployment): Market {
  const reader = readerOf(deployment);
  return {
    deployment,
    api: deployment.api === null ? null : apiAt(deployment.api),
    reader,
    wallets: walletsOf(deployment),
    newsroom: new Newsroom(deployment, reader),
    underway: new Underway(deployment, localStorage),
  };
}

function Speaking({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(() =>
    firstLanguage(localStorage.getItem(LANGUAGE_KEY), navigator.languages),
  );
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  const toggle = () => {
    const other = language === "en" ? "th" : "en";
    localStorage.setItem(LANGUAGE_KEY, other);
    setLanguage(other);
  };
  return <LanguageContext value={{ language, toggle }}>{children}</LanguageContext>;
}

const root = createRoot(document.getElementById("root") ?? document.body);

loadDeployment().then(
  (deployment) => {
    const market = marketOf(deployment);
    window.addEventListener("storage", ({ key }) => market.underway.reread(key));
    const queries = new QueryClient({ defaultOptions: { queries: { retry: 1, refetchOnWindowFocus: false } } });
    market.newsroom.start(tellingOf(queries));
    root.render(
      <StrictMode>
        <MantineProvider theme={theme} defaultColorScheme="auto">
          <WagmiProvider config={market.wallets}>
            <QueryClientProvider client={queries}>
              <MarketContext value={market}>
                <Speaking>
                  <Notifications position="top-right" />
                  <App />
                </Speaking>
              </MarketContext>
            </QueryClientProvider>
          </WagmiProvider>
        </MantineProvider>
      </StrictMode>,
    );
  },
  () => root.render(<p style={{ padding: "2rem", fontFamily: "system-ui" }}>{en.app.noDeployment}</p>),
);
