/** What is said at the edge of the page, where somebody looks who has closed a dialog or left its page. */

import { notifications } from "@mantine/notifications";
import type { Messages } from "../i18n/en";

/** Says something good, which goes by itself, or something that went otherwise than wanted, which stays. */
export function toast(t: Messages, title: string, message: string, good = true): void {
  notifications.show({
    title,
    message,
    closeButtonProps: { "aria-label": t.app.close },
    ...(good ? { color: "leaf" } : { color: "red", autoClose: false }),
  });
}
