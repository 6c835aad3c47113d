// bundle.mjs OUT: the page without its data, one HTML file. Packages come from build/web/node_modules.
import { build } from "../../build/web/node_modules/esbuild/lib/main.js";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../../build/web/page.html");

const { outputFiles } = await build({
  entryPoints: [join(here, "src/main.ts"), join(here, "src/style.css")],
  bundle: true, minify: true, write: false, outdir: "out", format: "iife", target: "es2022", charset: "utf8",
  legalComments: "inline",
  nodePaths: [join(here, "../../build/web/node_modules")],
});
const text = (end) => outputFiles.find((file) => file.path.endsWith(end)).text;
const page = readFileSync(join(here, "src/page.html"), "utf8")
  .replace("/*STYLE*/", () => text(".css"))
  .replace("/*SCRIPT*/", () => text(".js").replaceAll("</script", "<\\/script"));
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, page);
