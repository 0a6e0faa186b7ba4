/** The page's looks: one green, one type, and the colours of the report's charts. */

import { createTheme, type MantineColorsTuple } from "@mantine/core";

const leaf: MantineColorsTuple = [
  "#e8f6f1",
  "#d3eae2",
  "#a5d5c4",
  "#74bfa4",
  "#4dac89",
  "#349f78",
  "#00795a",
  "#00664c",
  "#00543e",
  "#00412f",
];

export const theme = createTheme({
  primaryColor: "leaf",
  primaryShade: { light: 7, dark: 6 },
  colors: { leaf },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans Thai", Sarabun, Arial, sans-serif',
  headings: { fontWeight: "600" },
  defaultRadius: "md",
  cursorType: "pointer",
  components: {
    // Names stay as they are written: Thai has no capitals, and a role is no shout. They are never cut.
    Badge: { styles: { root: { textTransform: "none", minWidth: "max-content" } } },
    // A message is told in ink: the colour around it is enough.
    Alert: { styles: { title: { color: "var(--ink)" }, message: { color: "var(--ink)" } } },
  },
});
