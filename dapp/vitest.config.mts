import { defineConfig } from "vitest/config";

export default defineConfig({
  root: import.meta.dirname,
  cacheDir: "../.cache/vite",
  test: { include: ["src/**/*.test.ts"] },
});
