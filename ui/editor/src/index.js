// What the page calls: window.distilsql.workbench(element), window.distilsql.mount(element, options).

import "./editor.css";
import "./workbench.css";
import { mount } from "./mount.js";
import { workbench } from "./workbench.js";

window.distilsql = { mount, workbench };
