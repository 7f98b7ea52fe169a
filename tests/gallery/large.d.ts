// What the scripts of the large view are to each other and to the rest.

interface Point {
  x: number;
  y: number;
}

type Place = Pick<State, "zoom" | "cx" | "cy">;
type Curve = { name: string; points: CurvePoint[] };
type Kind = "total" | "content" | "style" | "tv" | "detail";

interface Tick {
  at: number;
  text: string;
}

interface Plot {
  lines: { path: string; marks: string }[];
  x: Tick[];
  y: Tick[];
}

type Steered = Pick<State, "at" | "opacity" | "brightness" | "flipped">;

interface Steering {
  name: "at" | "opacity" | "brightness";
  property: string;
  label: string;
  min: number;
  max: number;
  unit: string;
}

/** An image on the stage, or what is said where there is none. */
interface Picture {
  node: HTMLElement;
  /** Width by height, 0 until it is known. */
  ratio: number;
  isPicture: boolean;
  /** Called when the ratio is known. */
  sized(): void;
  drop(): void;
}

interface Pane {
  picture: Picture;
  caption: HTMLElement;
  title: string;
  isStyle: boolean;
  current: boolean;
}

/** What the large view shows: follows from the state alone. */
interface Scene {
  index: number;
  item: Item;
  /** Of all columns, with the number of each one's item in this line or -1. */
  names: string[];
  titles: string[];
  numbers: number[];
  /** The columns that can be chosen, by their numbers. */
  offered: number[];
  current: string;
  /** -1 where the picture is not among those selected. */
  line: number;
  column: number;
  numLines: number;
  mode: State["mode"];
  shown: string[];
  a: string;
  b: string;
  all: boolean;
  /** What the pictures are called that stay while the rows are gone through, by `id=` and their id. */
  pinned: Record<string, string>;
  /** Width by height of the row's pictures. */
  ratio: number;
  columnTitle: string;
  content: string;
  style: string;
  facts: string[];
}

/** The large view while it is open. */
interface LargeView {
  app: App;
  dialog: HTMLDialogElement;
  stage: HTMLElement;
  facts: HTMLElement;
  bar: ReturnType<NSTNamespace["bar"]["build"]>;
  controls: ReturnType<NSTNamespace["modes"]["controls"]>;
  rate: { node: HTMLElement; update(): void };
  zoom: ReturnType<NSTNamespace["zoom"]["attach"]>;
  observer: ResizeObserver;
  say(text: string): void;
  go(patch: Partial<State>): void;
  /** The page's own, for afterwards. */
  title: string;
  scene: Scene | null;
  /** What is shown, in words, so that the same is not shown again. */
  told: string;
  steered: string;
  toldFacts: string;
  pictures: Map<string, Picture>;
  /** Pictures of the next row. */
  ahead: HTMLImageElement[];
}

/** How a value of a field fared: of `count` votes; `share` counts a tie as half. */
interface Tally {
  value: Value | null;
  wins: number;
  ties: number;
  count: number;
  share: number;
  low: number;
  high: number;
}

interface BarActions {
  step(direction: number): void;
  mode(name: State["mode"]): void;
  toggle(name: string): void;
  zoom(factor: number): void;
  real(): void;
  save(): void;
  close(): void;
}

interface NSTNamespace {
  facts: {
    panel(app: App, items: Item[], names: string[], showAll: boolean): HTMLElement;
    update(): void;
    differing(fields: Field[], items: Pick<Item, "get">[]): Field[];
    best(values: (Value | null)[], better: number): boolean[];
    byLayer(layers: [string, number][][]): { name: string; values: (number | null)[] }[];
    stepsOf(picture: string, names: string): { evaluation: string; href: string }[];
  };
  curve: {
    figure(curves: Curve[]): HTMLElement;
    kindsOf(curves: Curve[]): Kind[];
    plot(curves: Curve[], kind: Kind): Plot;
    ticks(low: number, high: number): number[];
    logTicks(low: number, high: number): number[];
    words(curve: Curve, kind: Kind): string;
  };
  zoom: {
    attach(
      stage: HTMLElement,
      app: App,
      tell: (zoom: number, real: number) => void,
    ): { update(): void; by(factor: number): void; toReal(): void; tell(): void; key(event: KeyboardEvent): boolean };
    clamped(place: Place): Place;
    zoomed(place: Place, zoom: number, x: number, y: number): Place;
    moved(place: Place, dx: number, dy: number): Place;
    pinched(place: Place, before: Point[], after: Point[]): Place;
  };
  picture: {
    ofInput(preview: Preview, kind: string): Picture;
    ofItem(app: App, item: Item): Picture;
    none(text: string): Picture;
  };
  modes: {
    LIST: { name: State["mode"]; title: string; key: string }[];
    INPUTS: string[];
    shown(show: string[], names: string[], present: string[], current: string): string[];
    toggled(chosen: string[], name: string): string[] | null;
    pair(state: Pick<State, "a" | "b">, names: string[], current: string): { a: string; b: string };
    layout(
      count: number,
      ratio: number,
      room: { width: number; height: number; gap: number; caption: number },
    ): { columns: number; height: number };
    side(inputs: Pane[], results: Pane[]): HTMLElement;
    over(mode: State["mode"], a: Pane, b: Pane): HTMLElement;
    controls(
      stage: HTMLElement,
      go: (patch: Partial<State>) => void,
      say: (text: string) => void,
    ): {
      node: HTMLElement;
      range: HTMLInputElement;
      key(event: KeyboardEvent): boolean;
      update(
        mode: State["mode"],
        choices: { value: string; title: string }[],
        chosen: { a: string; b: string } & Steered,
      ): void;
    };
  };
  scene: {
    /** Null where the picture of the state is not there. */
    load(app: App): Promise<{ scene: Scene; items: Map<string, Item> } | null>;
    nextLine(app: App, scene: Scene, direction: number): number;
    nextColumn(scene: Scene, name: string, direction: number): string;
    numberOf(scene: Scene, name: string): number;
    panes(scene: Scene): string[];
    titleOf(scene: Scene, name: string): string;
  };
  stage: {
    pictures(view: LargeView, scene: Scene, items: Map<string, Item>, choose: (name: string) => void): HTMLElement;
    fit(view: LargeView): void;
  };
  bar: {
    placeOf(scene: Scene): string;
    build(act: BarActions): {
      node: HTMLElement;
      zoom(value: number, real: number): void;
      update(scene: Scene): void;
    };
    button(text: string, action: () => void, name?: string): HTMLButtonElement;
  };
  large: { update(): Promise<void>; key(event: KeyboardEvent): boolean };
  ballots: {
    parse(text: string): { me: string; voters: Voter[] };
    merged(some: Voter[], others: Voter[]): Voter[];
    toCsv(voters: Voter[]): string;
    tally(votes: Vote[], valueOf: (id: string) => Value | null | undefined): { tallies: Tally[]; others: number };
    wilson(wins: number, count: number): { share: number; low: number; high: number };
    made(view: Pick<View, "numLines" | "lines" | "items">, status: Column): Pick<View, "numLines" | "lines" | "items">;
    drawn(view: Pick<View, "numLines" | "lines" | "items">, random: () => number): { a: number; b: number } | null;
    pairKey(a: string, b: string): string;
  };
  rate: {
    build(say: (text: string) => void): { node: HTMLElement; update(): void };
    show(scene: Scene): void;
    key(event: KeyboardEvent, say: (text: string) => void): boolean;
    note(item: Item): void;
    update(): void;
  };
  blind: { ask(app: App): Promise<void> };
  verdict: {
    show(app: App): Promise<void>;
    save(kind: "json" | "csv"): void;
    read(app: App, files: File[]): Promise<void>;
    everybody(app: App): Promise<Voter[]>;
  };
  again: {
    ask(app: App): Promise<void>;
    manifest(fields: Field[], items: Pick<Item, "get">[], times: number): string;
  };
  save: {
    save(view: LargeView): Promise<void>;
    seen(image: HTMLImageElement, place: Place): { x: number; y: number; width: number; height: number };
  };
  export: {
    csv(app: App): Promise<void>;
    print(app: App): Promise<void>;
    save(blob: Blob, name: string): void;
    lines(fields: Field[], columns: Column[], paths: Map<number, string>, order: ArrayLike<number>): Iterable<string>;
  };
  help: { show(): void };
}
