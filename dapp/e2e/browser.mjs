// Chromium with a wallet in it, as a participant has: it announces itself (EIP-6963), keeps its key outside the page,
// signs for real with viem, and can be told to decline, or to be on another chain that it must be taken away from.

import { chromium } from "playwright-core";
import { createPublicClient, createWalletClient, defineChain, http } from "viem";
import { mnemonicToAccount } from "viem/accounts";

const MNEMONIC = "test test test test test test test test test test test junk";
const ELSEWHERE = "0x1";

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

/** A page with a wallet for a development account in it; `wallet` says and sets how the wallet behaves. */
export async function pageWithWallet(
  browser,
  { url, index, width = 1280, height = 900, dark = false, language = "en", connected = false, elsewhere = false },
) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
    locale: language === "th" ? "th-TH" : "en-GB",
  });
  const account = mnemonicToAccount(MNEMONIC, { addressIndex: index });
  const rpc = new URL("/rpc", url).href;
  const chain = defineChain({
    id: 31337,
    name: "Busbar devnet",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [rpc] } },
  });
  const signer = createWalletClient({ account, chain, transport: http(rpc) });
  const node = createPublicClient({ chain, transport: http(rpc) });
  const wallet = {
    account,
    connected,
    chainId: elsewhere ? ELSEWHERE : "0x7a69",
    knows: new Set(elsewhere ? [ELSEWHERE] : ["0x7a69"]),
    declines: 0,
    // What a person waits for before answering.
    until: null,
    asked: [],
    messages: [],
    added: [],
  };

  const answer = async ({ method, params = [] }) => {
    wallet.asked.push(method);
    const mayDecline = ["eth_requestAccounts", "eth_sendTransaction", "eth_signTypedData_v4"].includes(method);
    if (mayDecline && wallet.declines > 0) {
      wallet.declines -= 1;
      return { error: { code: 4001, message: "User rejected the request." } };
    }
    if (mayDecline) await wallet.until;
    switch (method) {
      case "eth_requestAccounts":
        wallet.connected = true;
        return { result: [account.address] };
      case "eth_accounts":
        return { result: wallet.connected ? [account.address] : [] };
      case "eth_chainId":
        return { result: wallet.chainId };
      case "wallet_switchEthereumChain":
        if (!wallet.knows.has(params[0].chainId)) return { error: { code: 4902, message: "Unrecognized chain ID." } };
        wallet.chainId = params[0].chainId;
        return { result: null, chainId: wallet.chainId };
      case "wallet_addEthereumChain":
        wallet.added.push(params[0]);
        wallet.knows.add(params[0].chainId);
        wallet.chainId = params[0].chainId;
        return { result: null, chainId: wallet.chainId };
      case "eth_signTypedData_v4": {
        const { domain, types, primaryType, message } = JSON.parse(params[1]);
        wallet.messages.push(message);
        const members = Object.fromEntries(Object.entries(types).filter(([name]) => name !== "EIP712Domain"));
        return { result: await account.signTypedData({ domain, types: members, primaryType, message }) };
      }
      case "eth_sendTransaction": {
        if (Number(wallet.chainId) !== chain.id) return { error: { code: -32603, message: "another chain" } };
        const [{ to, data, value }] = params;
        return { result: await signer.sendTransaction({ to, data, value: value ? BigInt(value) : 0n }) };
      }
      case "wallet_requestPermissions":
        wallet.connected = true;
        return { result: [{ parentCapability: "eth_accounts" }] };
      case "wallet_revokePermissions":
        wallet.connected = false;
        return { result: null };
      default:
        return { result: await node.request({ method, params }) };
    }
  };

  await context.exposeFunction("busbarTestWallet", async (asked) => {
    try {
      return await answer(asked);
    } catch (problem) {
      return { error: { code: problem.code ?? -32603, message: problem.shortMessage ?? problem.message } };
    }
  });
  await context.addInitScript(() => {
    const listeners = {};
    const emit = (event, value) => (listeners[event] ?? []).forEach((listener) => listener(value));
    const provider = {
      async request(asked) {
        const { result, error, chainId } = await window.busbarTestWallet(asked);
        if (error) throw Object.assign(new Error(error.message), { code: error.code });
        if (chainId) emit("chainChanged", chainId);
        return result;
      },
      on: (event, listener) => (listeners[event] ??= []).push(listener),
      removeListener: (event, listener) =>
        (listeners[event] = (listeners[event] ?? []).filter((other) => other !== listener)),
    };
    // As a participant who chooses another network in the wallet itself.
    window.busbarTestGo = (chainId) =>
      provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
    const info = {
      uuid: "350670db-19fa-4704-a166-e52e178b59d2",
      name: "Test wallet",
      icon: "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><circle cx='12' cy='12' r='10' fill='%230067a5'/></svg>",
      rdns: "example.busbar.test",
    };
    const announce = () =>
      window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
    window.addEventListener("eip6963:requestProvider", announce);
    announce();
  });

  const page = await context.newPage();
  const seen = { errors: [], outside: [] };
  page.on("console", (message) => {
    if (message.type() === "error") seen.errors.push(message.text());
  });
  page.on("pageerror", (problem) => seen.errors.push(problem.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) seen.outside.push(request.url());
  });
  return { page, wallet, seen, context };
}

/** Connects the page's wallet. */
export async function connect(page) {
  await page.getByTestId("connect").first().click();
  await page.getByRole("button", { name: "Test wallet" }).click();
}
