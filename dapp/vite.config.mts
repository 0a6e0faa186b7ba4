import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The market that hot reload works with: `make run`, or `busbar api`.
const market = process.env["BUSBAR_API_URL"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  root: import.meta.dirname,
  cacheDir: "../.cache/vite",
  // Addresses are relative, so that the page can be hosted in any folder.
  base: "./",
  plugins: [react()],
  build: { outDir: "dist", emptyOutDir: true, target: "es2022", chunkSizeWarningLimit: 1_200 },
  server: {
    host: "127.0.0.1",
    port: 5173,
    proxy: Object.fromEntries(["/api", "/rpc", "/deployment.json"].map((path) => [path, market])),
  },
});
