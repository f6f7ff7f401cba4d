// Bundles src/ into ../static/editor.js and editor.css; the output depends on the sources and the lock
// file alone, and says by their hash which ones it was made of.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { build } from "esbuild";

const out = process.argv[2] ?? "../static";
const hash = createHash("sha256");
for (const name of ["package-lock.json", ...readdirSync("src").sort().map((file) => `src/${file}`)]) {
  hash.update(`${name}\0`).update(readFileSync(name));
}
const banner = `/* sources sha256 ${hash.digest("hex")} */`;

await build({
  entryPoints: { editor: "src/index.js" },
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  banner: { js: banner, css: banner },
  outdir: out,
  logLevel: "warning",
});
