// Changes to the page that leave alone what is as it should be: a text that is set again costs a layout,
// and there are a few hundred on the page.
import type { BaseType, Selection } from "d3-selection";

const english = new Intl.NumberFormat("en"); // toLocaleString makes one at each call
/** A number as the page tells it. */
export function told(n: number): string {
  return english.format(n);
}

export function setText<E extends BaseType, T, P extends BaseType, D>(selection: Selection<E, T, P, D>, value: (datum: T, index: number) => string): void {
  selection.each(function (this: BaseType, datum, index) {
    const element = this as Element;
    const text = value(datum, index);
    if (element.textContent !== text) element.textContent = text;
  });
}

/** null: no such attribute. */
export function setAttr<E extends BaseType, T, P extends BaseType, D>(selection: Selection<E, T, P, D>, name: string, value: (datum: T, index: number) => string | null): void {
  selection.each(function (this: BaseType, datum, index) {
    const element = this as Element;
    const text = value(datum, index);
    if (element.getAttribute(name) === text) return;
    if (text === null) element.removeAttribute(name);
    else element.setAttribute(name, text);
  });
}

/** All classes at once: names, and those that are there when they are true. */
export function setClass<E extends BaseType, T, P extends BaseType, D>(selection: Selection<E, T, P, D>, names: (datum: T, index: number) => [always: string, sometimes?: Record<string, boolean>]): void {
  setAttr(selection, "class", (datum, index) => {
    const [always, sometimes = {}] = names(datum, index);
    return [always, ...Object.keys(sometimes).filter((name) => sometimes[name])].join(" ");
  });
}
