// What the gallery's scripts are to each other: each puts one part on the namespace NST.

type Value = string | number;
type Codes = Uint8Array | Uint16Array | Uint32Array;

/** A field of all items, or of a chunk's: item i has `values[codes[i]]`, nothing at `values.length`. */
interface Column {
  values: Value[];
  codes: Codes;
}

interface Field {
  name: string;
  title: string;
  role: string;
  kind: "number" | "text";
  better: -1 | 0 | 1;
  size: number;
  missing: number;
  description?: string;
  /** Whether its values, which vary, may make rows and columns; whether they decide what is measured. */
  axis?: boolean;
  decisive?: boolean;
  /** Of the file of its column; a field without one has the same `value` everywhere. */
  hash?: string;
  value?: Value | null;
  index: number;
  /** Whether it is what the reader says of a picture, kept in the browser. */
  own?: boolean;
}

/** What somebody says of a picture, and when: ms since 1970. */
interface Opinion {
  rating?: number;
  pick?: string;
  note?: string;
  at: number;
}

/** Which of two pictures, by their ids, is better. */
interface Vote {
  a: string;
  b: string;
  better: "a" | "b" | "same";
  at: number;
}

interface Voter {
  voter: string;
  name: string;
  opinions: Record<string, Opinion>;
  votes: Vote[];
}

/** What a browser keeps: who its reader is, and what they and others said. */
interface Ballots {
  format: string;
  version: number;
  me: string;
  voters: Voter[];
}

/**
 * What the page has of it: under which key and as which text the browser keeps it, whether it has taken
 * the last change, and whether there are any that only this page has.
 */
interface Own {
  key: string;
  stored: string | null;
  ballots: Ballots;
  version: number;
  isKept: boolean;
  isUnsaved: boolean;
}

interface Spine {
  version: number;
  num_items: number;
  num_failed: number;
  num_manifest_rows: number;
  num_lines: number;
  chunk_items: number;
  detail_items: number;
  chunks: Codes;
  details: Codes;
  runs: { name: string; base: string }[];
  metadata: string[];
  small_previews: boolean;
  fields: Field[];
  row: string[];
  column: string;
  columns: Value[];
  patterns: number[][];
  row_patterns: Uint8Array | Uint16Array | Uint32Array;
  run_diff: { name: string; values: (Value | null)[] }[];
  num_unmatched: number;
  /** Of the file of votes that the gallery was built with. */
  votes?: string;
  layout?: "table" | "wall";
  /** Of each measure and each column. */
  spans?: Record<string, (Span | null)[]>;
}

/** The mean, the least and the largest of some values. */
type Span = [number, number, number];

/** A picture or what failed in its place. URLs are relative to the page. */
interface Item {
  index: number;
  id: string;
  /** The value of a field, null where it has none. */
  get(name: string): Value | null;
  failed: boolean;
  picture: string | null;
  /** `-256.webp` and `-512.webp` behind it; null where there are none. */
  thumb: string | null;
  color: string | null;
  width: number;
  height: number;
  /** Of the content and of each style: the small and the larger preview. */
  content: Preview;
  styles: Preview[];
  /** Source index of its detail. */
  detail: number;
}

interface Preview {
  name: string;
  title: string;
  small: string | null;
  large: string | null;
}

interface CurvePoint {
  evaluation: number;
  total: number;
  content: number;
  style: number;
  tv: number;
  detail: number;
}

interface Detail {
  curve: CurvePoint[];
  layers: [string, number][];
}

/** What is looked at, and all that a link says. */
interface State {
  /** The field of the columns, the fields of the rows. */
  x: string;
  y: string[];
  q: string;
  /** A field's name, with a minus for the largest first; empty is the manifest's order. */
  sort: string;
  /** Page of at most 6,000 lines, from 1; first of the columns that are shown, from 0. */
  page: number;
  left: number;
  size: "s" | "m" | "l";
  layout: "table" | "wall";
  /** Whether the plot is shown above the pictures. */
  plot: boolean;
  /** The measures across and up, empty for the usual ones. */
  px: string;
  py: string;
  /** The open picture's id, empty where none is; how it is compared, with which panes. */
  id: string;
  mode: "side" | "slider" | "flip" | "onion" | "difference";
  /** Names of the two panes that the modes of two compare: `content`, `style`, or a column's value. */
  a: string;
  b: string;
  /** Columns that are shown side by side, by value; empty is the first six. */
  show: string[];
  /** Zoom from 1 to 16 and the middle of what is seen, as shares of the picture. */
  zoom: number;
  cx: number;
  cy: number;
  /** Where the slider is and how much of the second picture is seen, in %; the difference's brightness. */
  at: number;
  opacity: number;
  brightness: number;
  /** Whether flip shows the second picture. */
  flipped: boolean;
  all: boolean;
}

/** Rows and columns of items. A row has as many lines as its fullest column has items. */
interface View {
  /** Values of the columns' field, null for items that have none. */
  columns: (Value | null)[];
  numLines: number;
  numRows: number;
  /** Items that are in the view, of them failed ones, and all that there are. */
  shown: number;
  total: number;
  /** Lines where rows start, and behind them the number of lines. */
  rows: Int32Array;
  /** Where a line's items start in `items` and `places`, and behind them their number. */
  lines: Int32Array;
  /** Items line by line, each with the number of its column beside it. */
  items: Int32Array;
  places: Int32Array;
  /** The item at a line and a column, -1 where there is none. */
  at(line: number, column: number): number;
  /** Whether a line is the first of its row. */
  starts(line: number): boolean;
}

interface Store {
  /** Where the data files are, relative to the page. */
  folder: string;
  spine: Spine;
  fields: Field[];
  field(name: string): Field | undefined;
  column(name: string): Promise<Column>;
  /** Have room for all of these items at once. */
  keep(items: number[]): void;
  /** The item where its chunk is at hand, else null. */
  peek(index: number): Item | null;
  item(index: number): Promise<Item>;
  detail(item: Item): Promise<Detail>;
  /** The number of the item with this id, -1 where there is none. */
  find(id: string): Promise<number>;
}

interface Query {
  terms: Term[];
  /** What of it cannot be understood, in words. */
  problems: string[];
}

interface Term {
  field: string;
  not: boolean;
  op: "has" | "any" | "<" | ">" | "<=" | ">=" | "none";
  values: string[];
}

interface App {
  store: Store;
  state: State;
  view: View;
  grid: Grid;
  /** What of the search cannot be understood. */
  problems: string[];
  /** Go on to another state; a new entry of the history unless `replace`. */
  go(patch: Partial<State>, options?: { replace?: boolean }): Promise<void>;
  /** Open an item large. */
  open(index: number): Promise<void>;
  /** The line and column of an item in the view, or null. */
  whereIs(index: number): { line: number; column: number } | null;
  /** What a column of the view is called. */
  columnTitle(value: Value | null): string;
  /** Whether the table is as the page comes. */
  isUsual(): boolean;
  announce(text: string): void;
  fail(error: Error): void;
  /** Load what any choice of the reader needs; what the large view; what filters, plot and explanations. */
  controls(): Promise<void>;
  more(): Promise<void>;
  tools(): Promise<void>;
  /** The column by which the pictures are ordered. */
  sortedBy(): Column | null;
  /** The items of the row that an item is of, and their columns, whatever the search hides. */
  rowOf(item: number): { items: Int32Array; columns: Set<Value | null> };
  /** Focus the cell of an item in the table. */
  focus(index: number): void;
}

interface NSTNamespace {
  codec: {
    unpack(payload: string): Promise<any>;
    revive(bytes: Uint8Array): any;
    load(path: string): Promise<any>;
  };
  store: {
    open(path: string): Promise<Store>;
    decodeCurve(packed: any, index: number): CurvePoint[];
  };
  format: {
    short(value: Value | null, digits?: number): string;
    full(value: Value | null): string;
    readable(reference: string): string;
    count(number: number, one: string, many?: string): string;
    csvCell(value: Value | null): string;
  };
  query: {
    tokens(text: string): string[];
    parse(text: string, fields: Field[]): Query;
    fieldsOf(query: Query, fields: Field[]): string[];
    mask(query: Query, columns: Map<string, Column>, fields: Field[], count: number): Uint8Array;
    toggled(text: string, field: string, value: string): string;
    has(text: string, field: string, value: string): boolean;
    named(field: string): string;
  };
  pivot: {
    initial(spine: Spine, mask: Uint8Array | null): View;
    laid(rows: Int32Array, numRows: number, places: Int32Array, values: (Value | null)[], mask: Uint8Array | null): View;
    view(columns: (Value | null)[], rows: Int32Array, lines: Int32Array, items: Int32Array, places: Int32Array, total: number): View;
    pivot(rows: Column[], column: Column, mask: Uint8Array | null, order?: Value[]): View;
    sorted(view: View, column: Column, descending: boolean): View;
    spans(view: View, column: Column): (Span | null)[];
    wall(view: View, count: number, column: Column | null, descending: boolean): View;
    /** The last of the sorted starts that is not above a value. */
    rowOf(starts: Int32Array, value: number): number;
  };
  link: {
    defaults(spine: Spine): State;
    parse(hash: string, spine: Spine): State;
    write(state: State, spine: Spine): string;
  };
  dom: {
    make<K extends keyof HTMLElementTagNameMap>(
      tag: K,
      attributes?: Record<string, string | number | boolean | null | undefined>,
      ...children: (Node | string | null | undefined | false)[]
    ): HTMLElementTagNameMap[K];
  };
  cells: {
    row(app: App, view: View, line: number, columns: number[]): HTMLTableRowElement;
    heading(app: App, view: View, column: number): HTMLTableCellElement;
    alt(app: App, item: Item): string;
    sources(item: Item): { src: string | null; srcset?: string };
  };
  figures: {
    CHIPS: string[];
    wordOn(app: App, text: string): string;
    titleOf(field: Field): string;
    shown(app: App): Field[];
    rivals(app: App, item: number): number[];
    comparable(fields: Field[], items: Pick<Item, "get">[]): boolean;
    best(app: App, item: number): Map<string, number | null>;
    bestOf(values: (Value | null)[], better: number): number | null;
  };
  filters: {
    fill(app: App, panel: HTMLElement): void;
    matching(values: Value[], text: string, isChosen: (value: Value) => boolean): { codes: number[]; more: number };
    binned(values: number[], counts: Uint32Array): { low: number; high: number; bins: Uint32Array; total: number; mean: number; quartiles: number[] };
    ranged(text: string, field: string, low: string, high: string): string;
    limit(text: string, field: string, op: string): string;
  };
  plot: {
    update(): boolean;
    pointsOf(view: View, xs: Column, ys: Column, total: number): Points;
    scaleOf(values: Float64Array): Scale;
    ticks(from: number, to: number, isLog: boolean): number[];
  };
  about: { show(app: App): void };
  grid: { open(app: App): Grid };
  opinions: {
    FORMAT: string;
    FIELDS: Omit<Field, "index">[];
    MAX_NOTE: number;
    open(spine: Spine): void;
    of(id: string): Opinion;
    say(id: string, patch: { rating?: number | null; pick?: string | null; note?: string | null }): Promise<void>;
    value(id: string, name: string): Value | null;
    column(store: Store, name: string): Promise<Column>;
    indices(store: Store, ids: string[]): Promise<Map<string, number>>;
    mark(row: HTMLElement): void;
    own: Own;
    reread(): void;
    partOf(field: string): string;
    joined(found: Ballots): Ballots;
    shown(): Promise<void>;
    pressed(item: Item, key: string): string;
    change(make: (ballots: Ballots) => void): Promise<void>;
    key(event: KeyboardEvent): boolean;
    all(): Ballots;
    mine(): Voter;
    version(): number;
    isKept(): boolean;
    saved(): void;
  };
  compare: {
    PINNED: string;
    take(app: App, number: number): Promise<void>;
    mark(): void;
    key(app: App, event: KeyboardEvent): boolean;
  };
  judging: { fill(app: App, panel: HTMLElement): void };
  toolbar: { open(app: App): { update(): void; key(event: KeyboardEvent): void } };
  app: App;
  large: { update(): Promise<void>; key(event: KeyboardEvent): boolean };
  help: { show(): void };
}

/** From values to shares of an axis, and back. */
interface Scale {
  isLog: boolean;
  place(value: number): number;
  value(place: number): number;
  ticks: number[];
}

/** Items with two values, those of the view first: their columns, -1 outside it, and pixels once drawn. */
interface Points {
  items: Int32Array;
  places: Int32Array;
  x: Float64Array;
  y: Float64Array;
  numShown: number;
  px: Float32Array;
  py: Float32Array;
  scales: [Scale, Scale];
  bins: Map<number, number[]> | null;
}

interface DotPlot {
  app: App;
  section: HTMLElement;
  area: HTMLElement;
  dots: HTMLCanvasElement;
  over: HTMLCanvasElement;
  tip: HTMLElement;
  legend: HTMLElement;
  note: HTMLElement;
  clear: HTMLElement;
  x: HTMLSelectElement;
  y: HTMLSelectElement;
  points: Points | null;
  orders: Int32Array[];
  /** The point that is pointed at, -1 for none. */
  at: number;
  drag: { x: number; y: number; toX: number; toY: number } | null;
  turn: number;
  /** What it shows. */
  of: { view: View | null; axes: string };
  observer: ResizeObserver;
}

interface Grid {
  update(): void;
  /** Focus the cell at a line and a column of the view, scrolled to. */
  focus(line: number, column: number): void;
  page(): number;
  pages(): number;
  pageLines: number;
  /** Numbers of the columns that are shown. */
  columns(): number[];
  hasFocus(): boolean;
  /** The line and column of an item as the pictures are laid out, or null. */
  whereIs(index: number): { line: number; column: number } | null;
  numLines(): number;
  numColumns(): number;
}

/** How far a run is, as the page of one that goes on is told. */
interface LiveRun {
  spine: string;
  state: "running" | "stopped" | "ended";
  num_rows: number;
  num_ok: number;
  num_failed: number;
  seconds_left: number | null;
  at: string;
}

declare var NST: NSTNamespace;
declare var nstLive: (told: LiveRun) => void;
declare var nstGallery: (key: string, payload: string) => void;
