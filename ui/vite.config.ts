import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Relative addresses throughout: the server writes the <base href> of wherever it is mounted.
export default defineConfig(({ command }) => ({
  base: command === "serve" ? "/ui/" : "./",
  resolve: { alias: { "~": fileURLToPath(new URL("./src", import.meta.url)) } },
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "../src/holdfast/web/ui/dist",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    port: 5173,
    // The Host stays the page's own: the server refuses what another site's page sends.
    proxy: {
      "/v1": { target: process.env.HOLDFAST_URL ?? "http://127.0.0.1:8484", changeOrigin: false },
    },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
}));
