// Bundles src/ into ../static/editor.js and editor.css; the output depends on the sources and the lock file alone.
import { build } from "esbuild";

const out = process.argv[2] ?? "../static";

await build({
  entryPoints: { editor: "src/index.js" },
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  outdir: out,
  logLevel: "warning",
});
