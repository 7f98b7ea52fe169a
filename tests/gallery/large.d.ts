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

interface Steering {
  property: string;
  label: string;
  min: number;
  max: number;
  start: number;
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
  zoom: ReturnType<NSTNamespace["zoom"]["attach"]>;
  observer: ResizeObserver;
  say(text: string): void;
  go(patch: Partial<State>): void;
  /** The page's own, for afterwards. */
  title: string;
  scene: Scene | null;
  /** What is shown, in words, so that the same is not shown again. */
  told: string;
  toldFacts: string;
  pictures: Map<string, Picture>;
  /** Pictures of the next row. */
  ahead: HTMLImageElement[];
}

interface BarActions {
  step(direction: number): void;
  mode(name: State["mode"]): void;
  toggle(name: string): void;
  zoom(factor: number): void;
  close(): void;
}

interface NSTNamespace {
  facts: {
    panel(app: App, items: Item[], names: string[], showAll: boolean): HTMLElement;
    differing(fields: Field[], items: Pick<Item, "get">[]): Field[];
    best(values: (Value | null)[], better: number): boolean[];
    byLayer(layers: [string, number][][]): { name: string; values: (number | null)[] }[];
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
      tell: (zoom: number) => void,
    ): { update(): void; by(factor: number): void; key(event: KeyboardEvent): boolean };
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
        chosen: { a: string; b: string },
      ): void;
    };
  };
  scene: {
    /** Null where the picture of the state is not there. */
    load(app: App): Promise<{ scene: Scene; items: Map<string, Item> } | null>;
    nextLine(app: App, scene: Scene, direction: number): number;
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
      zoom(value: number): void;
      update(scene: Scene): void;
    };
    button(text: string, action: () => void, name?: string): HTMLButtonElement;
  };
  large: { update(): Promise<void>; key(event: KeyboardEvent): boolean };
  export: {
    csv(app: App): Promise<void>;
    print(app: App): Promise<void>;
    lines(fields: Field[], columns: Column[], paths: Map<number, string>, order: ArrayLike<number>): Iterable<string>;
  };
  help: { show(): void };
}
