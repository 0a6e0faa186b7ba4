/** The wallet: choosing one, the right network, and who one is. */

import { Alert, Button, Modal, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useConnect, useConnection, useConnectors, useDisconnect, useSwitchChain } from "wagmi";
import { useHolding } from "../data";
import { useWords } from "../i18n";
import { useMarket } from "../market";
import { short } from "../units";
import { Problem } from "./Steps";

export function WalletButton() {
  const { t } = useWords();
  const { address } = useConnection();
  const { mutate: disconnect } = useDisconnect();
  const [dialog, setDialog] = useState<"choose" | "account" | null>(null);
  const close = () => setDialog(null);
  if (!address)
    return (
      <>
        <Button size="sm" data-testid="connect" onClick={() => setDialog("choose")}>
          {t.wallet.connect}
        </Button>
        <ChooseWallet opened={dialog === "choose"} close={close} />
      </>
    );
  return (
    <>
      <Button
        size="sm"
        variant="default"
        className="mono"
        aria-label={`${t.wallet.account} ${short(address)}`}
        onClick={() => setDialog("account")}
      >
        {short(address)}
      </Button>
      <Modal
        opened={dialog === "account"}
        onClose={close}
        title={t.wallet.account}
        centered
        closeButtonProps={{ "aria-label": t.app.close }}
      >
        <Stack gap="sm">
          <div className="mono">{address}</div>
          <Button variant="default" onClick={() => void navigator.clipboard.writeText(address)}>
            {t.app.copy}
          </Button>
          <Button
            variant="default"
            onClick={() => {
              disconnect({});
              close();
            }}
          >
            {t.wallet.disconnect}
          </Button>
        </Stack>
      </Modal>
    </>
  );
}

function ChooseWallet({ opened, close }: { opened: boolean; close: () => void }) {
  const { t } = useWords();
  const connectors = useConnectors();
  const { deployment } = useMarket();
  const { mutate: connect, isPending, error } = useConnect();
  // A wallet that does not announce itself is still there as the plain injected one.
  const found = connectors.filter((connector) => connector.type === "injected");
  return (
    <Modal
      opened={opened}
      onClose={close}
      title={t.wallet.connectTitle}
      centered
      closeButtonProps={{ "aria-label": t.app.close }}
    >
      <Stack gap="sm">
        <Text size="sm">{t.wallet.connectWhy}</Text>
        {found.map((connector) => (
          <Button
            key={connector.uid}
            variant="default"
            size="md"
            loading={isPending}
            leftSection={connector.icon ? <img src={connector.icon.trim()} alt="" width={24} height={24} /> : null}
            onClick={() => connect({ connector, chainId: deployment.chainId }, { onSuccess: close })}
          >
            {connector.name}
          </Button>
        ))}
        {found.length === 0 && (
          <Alert color="yellow" variant="light" title={t.wallet.noWallet}>
            {t.wallet.noWalletHow}
          </Alert>
        )}
        {error && <Problem problem={error} />}
        <div role="status" className="quiet">
          {isPending && t.wallet.connecting}
        </div>
      </Stack>
    </Modal>
  );
}

/** What keeps the connected account from trading, with what to do about it. */
export function WalletNotice({ quiet }: { quiet: boolean }) {
  const { t } = useWords();
  const { address, chainId } = useConnection();
  const { deployment } = useMarket();
  const { mutate: switchChain, isPending, error } = useSwitchChain();
  const { data: holding } = useHolding(address);
  if (!address) return null;
  if (chainId !== deployment.chainId)
    return (
      <Alert color="yellow" variant="light" title={t.wallet.wrongNetwork} mb="md">
        <p style={{ margin: "0 0 0.6rem" }}>{t.wallet.wrongNetworkHow(deployment.chainName)}</p>
        <Button size="xs" loading={isPending} onClick={() => switchChain({ chainId: deployment.chainId })}>
          {t.wallet.switch(deployment.chainName)}
        </Button>
        {error && <Problem problem={error} />}
      </Alert>
    );
  // An operator need not be a participant.
  if (quiet) return null;
  if (holding?.status === "unknown")
    return (
      <Alert color="yellow" variant="light" title={t.wallet.stranger} mb="md">
        {t.wallet.strangerHow} <span className="mono">{address}</span>
      </Alert>
    );
  if (holding?.status === "suspended")
    return (
      <Alert color="red" variant="light" title={t.wallet.suspended} mb="md">
        {t.wallet.suspendedHow}
      </Alert>
    );
  return null;
}
